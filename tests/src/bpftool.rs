//! What a person would see with bpftool.

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{RLIM_INFINITY, Resource::RLIMIT_MEMLOCK, setrlimit};
use serde_json::Value;
use std::{ffi::OsStr, os::unix::process::CommandExt as _, process::Command};

/// Runs `bpftool -j ARGS` and gives its answer.
///
/// # Errors
/// As [`text`], or it prints no JSON.
pub fn bpftool<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<Value> {
    let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
    let text = text(std::iter::once("-j".into()).chain(args))?;
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).with_context(|| format!("bpftool printed {text:?}"))
}

/// Runs `bpftool ARGS` and gives what it prints.
///
/// # Errors
/// bpftool is missing or fails (its own message is in the error).
pub fn text<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<String> {
    let mut command = Command::new("bpftool");
    // Linux before 5.11 charges attachments to this limit, which bpftool raises only to load.
    let raise = || setrlimit(RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    // SAFETY: a system call only.
    unsafe { command.pre_exec(move || raise().or(Ok(()))) };
    let output = command.args(args).output().context("bpftool")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "bpftool: {} {}", text.trim(), error.trim());
    Ok(text.into())
}
