//! Which binary is in its place: the one that was installed last, and one that runs.

use super::{Running, is_gone, is_whole, named};
use crate::install::{
    host::Host,
    watch::{Watch, until},
};
use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use tests::shuntctl::{self, Answer};

pub fn tests() -> Vec<Trial> {
    vec![
        named("newer_install_beside_watch", newer_install_beside_watch),
        named("watch_with_a_broken_source", watch_with_a_broken_source),
        named("plugin_runs_while_it_is_replaced", plugin_runs_while_it_is_replaced),
        named("foreign_plugin", foreign_plugin),
        named("binary_that_does_not_answer", binary_that_does_not_answer),
    ]
}

/// Of another version, as its bytes tell; or anything else, to be given as `--binary`.
fn other(host: &Host, name: &str, bytes: &[u8]) -> Result<PathBuf> {
    let path = host.node.dir.join(name);
    fs::copy(tests::cni::shunt()?, &path)?;
    fs::write(&path, bytes)?;
    Ok(path)
}

fn with(host: &Host, command: &str, binary: &Path) -> Result<Command> {
    let mut arguments = host.arguments(command)?;
    arguments.retain(|argument| !argument.starts_with("--binary="));
    let mut shuntctl = shuntctl::command()?;
    shuntctl.args(arguments).arg(format!("--binary={}", binary.display())).arg("--json");
    Ok(shuntctl)
}

fn install(host: &Host, binary: &Path) -> Result<Answer> {
    shuntctl::answer(with(host, "install", binary)?.output()?)
}

fn newer_install_beside_watch() -> Result<()> {
    let host = Host::new("newer")?;
    host.write_primary()?;
    let own = fs::read(tests::cni::shunt()?)?;
    let newer = other(&host, "newer", &[&own[..], b"x"].concat())?;
    let place = host.bin_dir.join("shunt");
    let is_newer = || Ok((fs::read(&place)? == fs::read(&newer)?).then_some(()));
    ensure!(host.install(&[])?.code == 0);
    let _old = Watch::start(&host, &[])?;
    sleep(Duration::from_millis(500));
    ensure!(install(&host, &newer)?.code == 0);
    let mut new = with(&host, "watch", &newer)?;
    let _new = Running(new.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    for _ in 0..20 {
        ensure!(is_newer()?.is_some(), "the older version is back");
        sleep(Duration::from_millis(100));
    }
    // Each would put back its own.
    fs::remove_file(&place)?;
    until("the version that was installed last", || {
        if place.exists() { is_newer() } else { Ok(None) }
    })?;
    sleep(Duration::from_secs(1));
    ensure!(is_newer()?.is_some());
    is_whole(&host)?;
    ensure!(host.uninstall()?.code == 0);
    is_gone(&host)
}

fn watch_with_a_broken_source() -> Result<()> {
    let host = Host::new("source")?;
    host.write_primary()?;
    let source = other(&host, "source", &fs::read(tests::cni::shunt()?)?)?;
    ensure!(install(&host, &source)?.code == 0);
    let mut watch = with(&host, "watch", &source)?;
    let _watch = Running(watch.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    sleep(Duration::from_secs(1));
    fs::File::options().write(true).open(&source)?.set_len(2 << 20)?;
    let place = host.bin_dir.join("shunt");
    fs::set_permissions(&place, fs::metadata(&place)?.permissions())?;
    sleep(Duration::from_secs(1));
    is_whole(&host)?;
    ensure!(host.uninstall()?.code == 0);
    is_gone(&host)
}

/// libcni does not try again where it is told that a program's file is busy.
fn plugin_runs_while_it_is_replaced() -> Result<()> {
    let host = Host::new("busy")?;
    host.write_primary()?;
    let own = fs::read(tests::cni::shunt()?)?;
    let newer = other(&host, "newer", &[&own[..], b"x"].concat())?;
    ensure!(host.install(&[])?.code == 0);
    let place = host.bin_dir.join("shunt");
    for round in 0..6 {
        let source = if round % 2 == 0 { &newer } else { &tests::cni::shunt()? };
        let mut replacing = with(&host, "install", source)?.stdout(Stdio::null()).spawn()?;
        while replacing.try_wait()?.is_none() {
            let mut plugin = Command::new(&place);
            plugin.env("CNI_COMMAND", "VERSION").stdin(Stdio::null());
            let answer = plugin.output().context("while it is replaced")?;
            ensure!(answer.status.success(), "{answer:?}");
        }
        ensure!(fs::read(&place)? == fs::read(source)?);
    }
    ensure!(host.uninstall()?.code == 0);
    is_gone(&host)
}

/// Of the same name by chance.
fn foreign_plugin() -> Result<()> {
    let host = Host::new("foreign")?;
    host.write_primary()?;
    let place = host.bin_dir.join("shunt");
    fs::write(&place, "#!/bin/sh\n")?;
    let refused = host.install(&[])?;
    let error = refused.json["error"].as_str().unwrap_or_default();
    ensure!(refused.code == 1 && error.contains("is not shunt's"), "{refused:?}");
    let left = host.uninstall()?;
    ensure!(left.code == 1 && left.json["stays"][0].as_str().is_some(), "{left:?}");
    ensure!(fs::read_to_string(&place)? == "#!/bin/sh\n");
    ensure!(fs::read_to_string(host.list())? == host.primary(0));
    fs::remove_file(&place)?;
    is_gone(&host)
}

fn binary_that_does_not_answer() -> Result<()> {
    let host = Host::new("hangs")?;
    host.write_primary()?;
    let start = Instant::now();
    let refused = install(&host, &other(&host, "hangs", b"#!/bin/sh\nsleep 1000\n")?)?;
    let error = refused.json["error"].as_str().unwrap_or_default();
    ensure!(refused.code == 1 && error.contains("not answered within"), "{refused:?}");
    ensure!(start.elapsed() < Duration::from_secs(60));
    let fifo = host.node.dir.join("fifo");
    ensure!(Command::new("mkfifo").arg(&fifo).status()?.success());
    for entry in [&fifo, Path::new("/dev/zero")] {
        let refused = host.install(&[&format!("--entry={}", entry.display())])?;
        let error = refused.json["error"].as_str().unwrap_or_default();
        ensure!(refused.code == 1 && error.contains("no regular file"), "{refused:?}");
    }
    is_gone(&host)
}
