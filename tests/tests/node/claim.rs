//! Commands that meet: one of them wins whole.

use super::{Running, is_gone, is_whole, named};
use crate::{
    install::{
        host::Host,
        watch::{Watch, log, until},
    },
    scale::scaled,
};
use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use std::{fs, process::Stdio, thread::sleep, time::Duration};
use tests::{listening::listens, shuntctl};

pub fn tests() -> Vec<Trial> {
    vec![
        named("install_meets_uninstall", install_meets_uninstall),
        named("uninstall_meets_waiting_install", uninstall_meets_waiting_install),
        named("watch_meets_uninstall", watch_meets_uninstall),
        named("watch_meets_watch", watch_meets_watch),
        named("older_pod_ends_later", older_pod_ends_later),
        named("killed_at_any_moment", killed_at_any_moment),
    ]
}

/// Who calls last wins: it waits for the other to be done.
fn install_meets_uninstall() -> Result<()> {
    let host = Host::new("meets")?;
    host.write_primary()?;
    ensure!(host.install(&[])?.code == 0);
    let leaving = Running::start(&host, "uninstall", &["--settle=2s"])?;
    sleep(Duration::from_millis(700));
    let installed = host.install(&[])?;
    ensure!(leaving.code()? == 0 && installed.code == 0, "{installed:?}");
    is_whole(&host)?;
    ensure!(host.uninstall()?.code == 0);
    is_gone(&host)
}

fn uninstall_meets_waiting_install() -> Result<()> {
    let host = Host::new("waiting")?;
    let waiting = Running::start(&host, "install", &["--wait=30s"])?;
    until("the plugin", || Ok(host.bin_dir.join("shunt").exists().then_some(())))?;
    sleep(Duration::from_millis(300));
    ensure!(host.uninstall()?.code == 0);
    host.write_primary()?;
    ensure!(waiting.code()? == 1, "it was told that shunt is not to be here");
    is_gone(&host)
}

/// Of two pods on one node: who comes has the address as soon as who goes is gone.
fn watch_meets_watch() -> Result<()> {
    let host = Host::new("two-watch")?;
    host.write_primary()?;
    let metrics = ["--metrics=127.0.0.1:9478"];
    let serves = || until("metrics", || Ok(listens(9478)?.then_some(())));
    let old = Watch::start(&host, &metrics)?;
    serves()?;
    let new = Watch::start(&host, &metrics)?;
    until("who comes waits", || {
        Ok(fs::read_to_string(log(&host))?.contains("is in use").then_some(()))
    })?;
    old.stop()?;
    serves()?;
    new.stop()?;
    ensure!(host.uninstall()?.code == 0);
    is_gone(&host)
}

/// What comes last has the node, whatever the older one was told of its DaemonSet.
fn older_pod_ends_later() -> Result<()> {
    let host = Host::new("pods")?;
    host.write_primary()?;
    let in_pod = |uid: &str, command: &str| -> Result<i32> {
        let mut shuntctl = shuntctl::command()?;
        shuntctl.args(host.arguments(command)?).env("SHUNT_POD", uid);
        let status = shuntctl.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        status.code().context("killed")
    };
    ensure!(in_pod("old", "install")? == 0 && in_pod("new", "install")? == 0);
    ensure!(in_pod("old", "uninstall")? == 0);
    is_whole(&host)?;
    ensure!(in_pod("new", "uninstall")? == 0);
    is_gone(&host)?;
    // By hand: whoever has installed it.
    ensure!(in_pod("new", "install")? == 0 && host.uninstall()?.code == 0);
    is_gone(&host)
}

fn watch_meets_uninstall() -> Result<()> {
    let host = Host::new("keeping")?;
    host.write_primary()?;
    let watch = Watch::start(&host, &["--sweep=1s"])?;
    until("the entry", || Ok((super::naming(&host)?.len() == 1).then_some(())))?;
    let leaving = Running::start(&host, "uninstall", &["--settle=2s"])?;
    sleep(Duration::from_millis(500));
    // A primary that writes while uninstall waits.
    host.write_primary()?;
    ensure!(leaving.code()? == 0);
    is_gone(&host)?;
    sleep(Duration::from_secs(2));
    is_gone(&host)?;
    // That it waits for nobody is seen by how soon it ends.
    let leaving = Running::start(&host, "uninstall", &["--settle=0s"])?;
    watch.stop()?;
    ensure!(leaving.code()? == 0);
    is_gone(&host)
}

/// The steps of the search, by real processes. After each there may be anything but a list that names
/// a plugin that is not there.
fn killed_at_any_moment() -> Result<()> {
    let host = Host::new("moments")?;
    host.write_primary()?;
    let watch = Watch::start(&host, &["--sweep=1s"])?;
    for round in 0..scaled(60).max(5) {
        let command = ["install", "uninstall"][round as usize % 2];
        let more: &[&str] = if command == "uninstall" { &["--settle=0s"] } else { &[] };
        let running = Running::start(&host, command, more)?;
        let deadline = Duration::from_micros(fastrand::u64(..30_000));
        if round % 5 == 0 {
            host.write_primary()?;
        }
        let start = std::time::Instant::now();
        while start.elapsed() < deadline {
            can_be_run(&host)?;
        }
        drop(running);
        can_be_run(&host)?;
    }
    drop(watch);
    ensure!(host.install(&[])?.code == 0);
    is_whole(&host)?;
    ensure!(host.uninstall()?.code == 0);
    is_gone(&host)
}

/// Looked at the plugin last: who takes it away has changed the list before.
fn can_be_run(host: &Host) -> Result<()> {
    let named = fs::read_to_string(host.list()).unwrap_or_default().contains("\"shunt\"");
    let there = host.bin_dir.join("shunt").exists();
    let still = fs::read_to_string(host.list()).unwrap_or_default().contains("\"shunt\"");
    ensure!(!named || there || !still, "a list names a plugin that is not there");
    Ok(())
}
