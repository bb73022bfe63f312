//! shuntctl, as an operator calls it.

use anyhow::{Context as _, Result};
use serde_json::Value;
use std::{
    ffi::OsStr,
    process::{Command, Output},
};

/// A call of shuntctl: `SHUNTCTL_BIN`, or what cargo built beside this executable.
///
/// # Errors
/// It is at neither place.
pub fn command() -> Result<Command> {
    Ok(Command::new(crate::cni::built("shuntctl", "SHUNTCTL_BIN", "install")?))
}

/// What one call ended with and printed.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    /// What it printed with `--json`, line by line.
    pub lines: Vec<Value>,
    /// The last line.
    pub json: Value,
    pub stderr: String,
}

/// Calls it with `--json` and waits.
///
/// # Errors
/// It could not be started, was killed, or printed no JSON.
pub fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<Answer> {
    answer(command()?.args(args).arg("--json").output().context("shuntctl")?)
}

/// What it ended with and printed, if that was with `--json`.
///
/// # Errors
/// It was killed, or printed no JSON.
pub fn answer(output: Output) -> Result<Answer> {
    let text = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
    let lines = lines.with_context(|| format!("{text} {stderr}"))?;
    Ok(Answer {
        code: output.status.code().context("shuntctl was killed")?,
        json: lines.last().cloned().unwrap_or_default(),
        lines,
        stderr,
    })
}
