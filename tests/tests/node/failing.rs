//! A step fails half-way, or what is told cannot be written: what is said is still true.

use super::{is_gone, name, named};
use crate::install::host::Host;
use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use std::{
    fs::{self, File, OpenOptions},
    path::Path,
    process::{Command, Stdio},
};
use tests::{
    needs,
    shuntctl::{self, Answer},
};

pub fn tests() -> Vec<Trial> {
    let strace = Path::new("/usr/bin/strace").exists();
    let traced = |trial| needs(trial, strace, "no strace");
    vec![
        named("broken_list_beside", broken_list_beside),
        traced(named("claim_that_stays", claim_that_stays)),
        traced(named("error_after_the_change", error_after_the_change)),
        named("stderr_that_cannot_be_written", stderr_that_cannot_be_written),
    ]
}

/// A call of which the kernel refuses one thing on one path.
fn refused(host: &Host, command: &str, path: &Path, calls: &str) -> Result<Answer> {
    let shuntctl = shuntctl::command()?;
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-P", &name(path)])
        .args(["-e", &format!("inject={calls}:error=EIO")])
        .arg(shuntctl.get_program())
        .args(host.arguments(command)?)
        .arg("--json")
        .output()?;
    shuntctl::answer(output)
}

fn broken_list_beside() -> Result<()> {
    let host = Host::new("beside")?;
    host.write_primary()?;
    ensure!(host.install(&[])?.code == 0);
    let broken = host.net_dir.join("99-x.conf");
    fs::write(&broken, "{")?;
    let left = host.uninstall()?;
    let done = left.json["done"].to_string();
    ensure!(left.code == 1 && done.contains(&name(&host.list())), "{left:?}");
    ensure!(fs::read_to_string(host.list())? == host.primary(0));
    fs::remove_file(&broken)?;
    ensure!(host.uninstall()?.code == 0);
    is_gone(&host)
}

fn claim_that_stays() -> Result<()> {
    let host = Host::new("claim-stays")?;
    host.write_primary()?;
    ensure!(host.install(&[])?.code == 0);
    let claim = host.node.lock.with_extension("lock.installed");
    ensure!(claim.exists());
    let left = refused(&host, "uninstall", &claim, "unlink,unlinkat")?;
    let stays = left.json["stays"][0].as_str().context("nothing stays")?;
    ensure!(left.code == 1 && stays.contains(&name(&claim)), "{left:?}");
    let removed = left.json["removed"].to_string();
    ensure!(removed.contains(&name(&host.bin_dir.join("shunt"))), "{left:?}");
    is_gone(&host)?;
    ensure!(host.uninstall()?.code == 0 && !claim.exists());
    Ok(())
}

fn error_after_the_change() -> Result<()> {
    let host = Host::new("too-late")?;
    host.write_primary()?;
    let told = refused(&host, "install", &host.net_dir, "fsync")?;
    let said = |key: &str| told.json[key].as_str().unwrap_or_default();
    ensure!(told.code == 1 && said("error").contains("it is changed"), "{told:?}");
    ensure!(said("error").contains(&name(&host.list())), "{told:?}");
    ensure!(said("stays").contains("not named here"), "{told:?}");
    ensure!(fs::read_to_string(host.list())?.contains("\"shunt\""));
    ensure!(host.uninstall()?.code == 0);
    is_gone(&host)
}

fn stderr_that_cannot_be_written() -> Result<()> {
    let host = Host::new("mute")?;
    host.write_primary()?;
    let full = || OpenOptions::new().write(true).open("/dev/full");
    let pipe = || -> Result<File> {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        Ok(File::from(std::os::fd::OwnedFd::from(writer)))
    };
    for call in ["install --adopt", "install --adopt", "upgrade", "adopt", "uninstall"] {
        for stderr in [full()?, pipe()?] {
            let (command, more) = call.split_once(' ').unwrap_or((call, ""));
            let mut arguments = host.arguments(command)?;
            arguments.retain(|it| command.ends_with("install") || !it.starts_with("--binary"));
            let mut shuntctl = shuntctl::command()?;
            shuntctl.args(arguments).args(more.split_whitespace());
            let output = shuntctl.stdout(Stdio::piped()).stderr(stderr).output()?;
            ensure!(output.status.code() == Some(0), "{call}: {output:?}");
            let told = String::from_utf8_lossy(&output.stdout);
            let is_upgraded = told.contains("programs of this version");
            ensure!(
                is_upgraded == ["install --adopt", "upgrade"].contains(&call),
                "{call}: {told}"
            );
        }
    }
    is_gone(&host)
}
