//! The plugin's binary: put where the runtime finds it, and asked what it takes.

use std::{
    env,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    attributes::Attributes,
    change::{replace, whose},
    conflist::SHUNT,
};

#[derive(Clone, Debug, clap::Args)]
pub struct Binary {
    /// The plugin to install [default: shunt, beside shuntctl]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

impl Binary {
    /// # Errors
    /// There is none.
    pub fn path(&self) -> Result<PathBuf> {
        let path = match &self.binary {
            Some(path) => path.clone(),
            None => env::current_exe()?.with_file_name(SHUNT),
        };
        ensure!(path.is_file(), "{} is not there: give --binary", path.display());
        Ok(path)
    }
}

/// Copies it to the folder, unless the same lies there and can be run. Whether that was needed.
///
/// # Errors
/// Of reading or writing; what was there is then still there.
pub fn place(source: &Path, folder: &Path) -> Result<bool> {
    let (target, attributes) = (folder.join(SHUNT), Attributes::program());
    let placed = || -> Result<bool> {
        let is_it = |file: fs::Metadata| file.is_file() && attributes.are_those_of(&file);
        if fs::metadata(&target).is_ok_and(is_it) && is_same(source, &target)? {
            return Ok(false);
        }
        replace(&target, &fs::read(source)?, &attributes, || Ok(()))?;
        Ok(true)
    };
    placed().map_err(|error| whose(error, &target).context("cannot place the plugin"))
}

/// A block at a time: `watch` is to stay small.
fn is_same(source: &Path, target: &Path) -> io::Result<bool> {
    let target = match File::open(target) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        target => target?,
    };
    let (mut a, mut b) = (BufReader::new(File::open(source)?), BufReader::new(target));
    loop {
        let (x, y) = (a.fill_buf()?, b.fill_buf()?);
        let both = x.len().min(y.len());
        if x[..both] != y[..both] || (both == 0 && x.len() + y.len() > 0) {
            return Ok(false);
        }
        if both == 0 {
            return Ok(true);
        }
        a.consume(both);
        b.consume(both);
    }
}

/// The versions of CNI that it speaks.
///
/// # Errors
/// It does not run on this node, or is no CNI plugin.
pub fn versions(binary: &Path) -> Result<Vec<String>> {
    let answer = call(binary, "VERSION", &Value::Null)?;
    let versions = answer["supportedVersions"].clone();
    serde_json::from_value(versions)
        .with_context(|| format!("{} is no CNI plugin: {answer}", binary.display()))
}

/// Has the plugin read its entry: what it does not take would fail every pod.
///
/// # Errors
/// The plugin's own.
pub fn check_entry(binary: &Path, entry: &Value) -> Result<()> {
    let mut conf = entry.clone();
    conf["cniVersion"] = json!("1.0.0");
    conf["name"] = json!("shuntctl");
    conf["prevResult"] = json!({});
    if conf["logFile"].as_str().is_some_and(|path| path.starts_with('/')) {
        conf["logFile"] = json!("/dev/stderr");
    }
    // CHECK of a pod that was never added reads the whole conf, and then has nothing to do.
    call(binary, "CHECK", &conf).map(drop)
}

fn call(binary: &Path, verb: &str, conf: &Value) -> Result<Value> {
    let name = || binary.display().to_string();
    let mut child = Command::new(binary)
        .env_clear()
        .envs([("CNI_COMMAND", verb), ("CNI_CONTAINERID", "shuntctl"), ("CNI_IFNAME", "eth0")])
        .env("CNI_NETNS", "/proc/self/ns/net")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(name)?;
    // A plugin may end without reading it.
    let _ = child.stdin.take().context("no stdin")?.write_all(conf.to_string().as_bytes());
    let output = child.wait_with_output().with_context(name)?;
    String::from_utf8_lossy(&output.stderr).lines().for_each(|line| log::info!("{line}"));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    ensure!(output.status.success(), "{}: {}", name(), answer["msg"].as_str().unwrap_or("failed"));
    Ok(answer)
}
