//! A client of the Container Runtime Interface, as a kubelet is.

use anyhow::{Context as _, Result, bail};
use serde::Deserialize as _;
use serde_json::{Deserializer, Value, json};
use std::{
    fs::File,
    io::Write as _,
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Stdio},
};

/// The interface is gRPC, so this is a thin program around gRPC's own library.
pub struct Cri {
    python: Child,
    answers: File,
}

impl Cri {
    /// # Errors
    /// Python is not there.
    pub fn new(socket: &Path) -> Result<Cri> {
        let mut python = Command::new("python3");
        python.args(["-c", include_str!("cri.py")]).arg(socket);
        python.env("PYTHONPATH", crate::folder()?.join("python"));
        let python = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut python = python.context("python3")?;
        let answers = OwnedFd::from(python.stdout.take().context("no stdout")?).into();
        Ok(Cri { python, answers })
    }

    /// Calls a method, with a request and an answer as protobuf writes them in JSON.
    ///
    /// # Errors
    /// The runtime's own, as text.
    pub fn call(&self, method: &str, request: Value) -> Result<Value> {
        let mut stdin = self.python.stdin.as_ref().context("no stdin")?;
        writeln!(stdin, "{}", json!([method, request]))?;
        let answer = Value::deserialize(&mut Deserializer::from_reader(&self.answers));
        let answer = answer.with_context(|| format!("the client of {method}"))?;
        match &answer[1] {
            Value::String(error) => bail!("{method}: {error}"),
            _ => Ok(answer[0].clone()),
        }
    }
}

impl Drop for Cri {
    fn drop(&mut self) {
        let _ = self.python.kill();
        let _ = self.python.wait();
    }
}
