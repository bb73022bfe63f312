//! What is told, and by which exit code.

use super::{named, with_capabilities};
use crate::install::{host::Host, watch::until};
use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use std::{
    fs::{self, OpenOptions},
    process::{Command, Output, Stdio},
};
use tests::shuntctl;

pub fn tests() -> Vec<Trial> {
    vec![
        named("not_root", not_root),
        named("second_list", second_list),
        named("full_device", full_device),
        named("exit_codes", exit_codes),
        named("in_plain_words", in_plain_words),
        named("rates_in_a_pipe", rates_in_a_pipe),
        named("what_was_done_and_what_to_do", what_was_done_and_what_to_do),
    ]
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// As an operator calls it, without `--json`.
fn call(host: &Host, command: &str, more: &[&str]) -> Result<Output> {
    Ok(command_of(host, command)?.args(more).output()?)
}

fn command_of(host: &Host, command: &str) -> Result<Command> {
    let takes = |argument: &&String| match command {
        "status" | "drain" => argument.contains("--pin-path") || !argument.starts_with("--"),
        "doctor" => !argument.starts_with("--binary"),
        _ => true,
    };
    let mut call = shuntctl::command()?;
    call.args(host.arguments(command)?.iter().filter(takes));
    Ok(call)
}

fn not_root() -> Result<()> {
    let host = Host::new("not-root")?;
    host.write_primary()?;
    ensure!(host.install(&[])?.code == 0);
    for command in ["status", "drain", "doctor"] {
        let shuntctl = command_of(&host, command)?;
        let output = Command::new("setpriv")
            .args(["--reuid=4711", "--regid=4711", "--clear-groups"])
            .arg(shuntctl.get_program())
            .args(shuntctl.get_args())
            .output()?;
        let told = text(&output);
        ensure!(output.status.code() == Some(1), "{command}: {told}");
        let is_line = told.lines().count() == 1 && told.contains("as root");
        ensure!(is_line && told.to_lowercase().contains("permission denied"), "{command}: {told}");
    }
    ensure!(host.uninstall()?.code == 0);
    Ok(())
}

fn finding(host: &Host, check: &str) -> Result<Value> {
    let output = command_of(host, "doctor")?.arg("--json").output()?;
    let lines = shuntctl::answer(output)?.lines;
    lines.into_iter().find(|line| line["check"] == check).context("no such check")
}

/// The runtime reads the first.
fn second_list() -> Result<()> {
    let host = Host::new("second")?;
    host.write_primary()?;
    ensure!(host.install(&[])?.code == 0);
    ensure!(finding(&host, "conflist")?["verdict"] == "ok");
    let first = host.net_dir.join("05-first.conflist");
    fs::write(&first, host.primary(0))?;
    let told = finding(&host, "conflist")?;
    let found = told["found"].as_str().context("no text")?;
    let both = [&first, &host.list()].iter().all(|path| found.contains(&super::name(path)));
    ensure!(told["verdict"] == "limited" && both, "{told}");
    ensure!(host.uninstall()?.code == 0);
    Ok(())
}

fn full_device() -> Result<()> {
    let host = Host::new("full")?;
    host.write_primary()?;
    let full = || OpenOptions::new().write(true).open("/dev/full");
    for (command, more) in [
        ("doctor", None),
        ("doctor", Some("--json")),
        ("status", None),
        ("install", Some("--dry-run")),
        ("install", Some("--help")),
        ("install", None),
        ("uninstall", Some("--settle=0s")),
    ] {
        let output = command_of(&host, command)?.args(more).stdout(full()?).output()?;
        ensure!(output.status.code() == Some(1), "{command} {more:?}: {output:?}");
    }
    // What was to be done is.
    super::is_gone(&host)
}

fn exit_codes() -> Result<()> {
    let mut host = Host::new("codes")?;
    let code = |host: &Host, command: &str, more: &[&str], code: i32| -> Result<()> {
        let output = call(host, command, more)?;
        ensure!(output.status.code() == Some(code), "{command} {more:?}: {}", text(&output));
        Ok(())
    };
    code(&host, "install", &[], 4)?;
    code(&host, "install", &["--dry-run"], 4)?;
    code(&host, "install", &["--no-such-option"], 2)?;
    code(&host, "install", &["--wait=soon"], 2)?;
    code(&host, "install", &["--help"], 0)?;
    fs::write(host.list(), "{")?;
    code(&host, "install", &[], 1)?;
    code(&host, "uninstall", &["--settle=0s"], 1)?;
    host.write_primary()?;
    code(&host, "install", &[], 0)?;
    code(&host, "install", &[], 0)?;
    code(&host, "doctor", &[], 0)?;
    fs::remove_file(host.bin_dir.join("shunt"))?;
    code(&host, "doctor", &[], 3)?;
    code(&host, "uninstall", &["--settle=0s"], 0)?;
    code(&host, "uninstall", &["--settle=0s"], 0)?;
    host.node.pins = host.node.dir.join("no-bpffs");
    code(&host, "install", &["--must-accelerate"], 3)?;
    super::is_gone(&host)
}

/// Also where the answer cannot be written, or a file cannot.
fn what_was_done_and_what_to_do() -> Result<()> {
    let host = Host::new("next")?;
    let before = host.traces()?;
    let none = text(&call(&host, "install", &[])?);
    ensure!(none.contains("shunt placed") && none.contains("--wait"), "{none}");
    ensure!(host.uninstall()?.code == 0);
    let wrong = text(&call(&host, "install", &["--entry=/nowhere"])?);
    for words in ["/nowhere", "nothing was done", "all is as it was", "call it again"] {
        ensure!(wrong.contains(words), "{wrong}");
    }
    host.write_primary()?;
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    let closed = command_of(&host, "install")?.stdout(writer).output()?;
    let told = text(&closed);
    ensure!(closed.status.code() == Some(1) && told.contains("could not be written"), "{told}");
    ensure!(told.contains(&super::name(&host.list())) && told.contains("next: "), "{told}");
    ensure!(host.uninstall()?.code == 0);
    let install = command_of(&host, "install")?;
    let limited = Command::new("prlimit")
        .arg("--fsize=4096")
        .arg(install.get_program())
        .args(install.get_args())
        .output()?;
    let told = text(&limited);
    ensure!(limited.status.code() == Some(1), "{limited:?}");
    ensure!(told.contains("File too large") && told.contains("next:"), "{told}");
    ensure!(fs::read_to_string(host.list())? == host.primary(0));
    ensure!(host.uninstall()?.code == 0);
    fs::remove_file(host.list())?;
    host.is_as(&before)
}

fn in_plain_words() -> Result<()> {
    let host = Host::new("words")?;
    host.write_primary()?;
    let says = |command: &str, more: &[&str], words: &str| -> Result<()> {
        let told = text(&call(&host, command, more)?);
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(told.contains(words), "{command} {more:?}: {told}");
        ensure!(!told.contains("ADD") && !told.contains("1 pods"), "{command}: {told}");
        Ok(())
    };
    says("uninstall", &["--settle=0s"], "nothing of shunt was here")?;
    says("drain", &["--resume"], "nothing is pinned")?;
    says("install", &["--dry-run"], "+ \"type\": \"shunt\"")?;
    says("install", &[], "changed")?;
    says("install", &["--dry-run"], "nothing would change")?;
    says("drain", &["--resume"], "new connections take the short way again")?;
    says("doctor", &[], "verdict")?;
    let first = text(&call(&host, "doctor", &[])?);
    ensure!(first.lines().next().is_some_and(|line| line.contains("pods of this node")), "{first}");
    ensure!(!first.contains("Verifier output"), "{first}");
    let pod = host.pod("one", host.chain()?)?;
    says("status", &[], "1 accelerated pod now")?;
    drop(pod);
    // Each failure says what was done, what stays, and what to do next.
    fs::write(host.list(), "{")?;
    for command in ["install", "uninstall"] {
        for words in ["done:", "stays:", "next:", &super::name(&host.list())] {
            says(command, &[], words)?;
        }
    }
    host.write_primary()?;
    ensure!(host.uninstall()?.code == 0);
    Ok(())
}

fn rates_in_a_pipe() -> Result<()> {
    let host = Host::new("rates")?;
    host.write_primary()?;
    ensure!(host.install(&[])?.code == 0);
    let (a, b) = (host.pod("a", host.chain()?)?, host.pod("b", host.chain()?)?);
    let mut watching = command_of(&host, "status")?;
    let file = fs::File::create(host.node.dir.join("status"))?;
    let mut watching = watching.arg("--watch=1").stdout(Stdio::from(file)).spawn()?;
    let told = || fs::read_to_string(host.node.dir.join("status"));
    let seen = until("a rate", || {
        crate::install::host::talk(&a, &b)?;
        let rates = |text: &String| {
            text.lines().any(|line| line.contains("/s in ") && !line.contains("now: 0.0 B"))
        };
        Ok(Some(told()?).filter(rates))
    });
    watching.kill()?;
    watching.wait()?;
    ensure!(!seen?.contains('\x1b'));
    // Whoever has seen enough ends it.
    let mut watching = command_of(&host, "status")?;
    let mut watching = watching.arg("--watch=1").stdout(Stdio::piped()).spawn()?;
    drop(watching.stdout.take());
    until("it ends", || Ok(watching.try_wait()?))?;
    drop((a, b));
    ensure!(host.uninstall()?.code == 0);
    Ok(())
}

/// What a container's root may not do is told in one line, with owner and capability.
pub fn names_owner(host: &Host, capabilities: &str, command: &str) -> Result<()> {
    let refused = with_capabilities(capabilities, host, command, &[])?;
    let error = refused.json["error"].as_str().context("no error")?;
    ensure!(refused.code == 1 && error.lines().count() == 1, "{refused:?}");
    ensure!(error.contains("4711") && error.contains("CAP_"), "{refused:?}");
    Ok(())
}
