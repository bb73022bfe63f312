//! What is not shunt's stays, wherever an option says that shunt's is.

use super::{is_gone, is_whole, name, named};
use crate::install::{
    host::Host,
    metrics::get,
    watch::{Watch, until},
};
use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use nix::{sys::stat::Mode, unistd::mkfifo};
use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use tests::{bpftool::bpftool, cni::Call, shuntctl};

pub fn tests() -> Vec<Trial> {
    vec![
        named("pins_of_others", pins_of_others),
        named("pin_path_that_is_no_bpffs", pin_path_that_is_no_bpffs),
        named("log_of_others", log_of_others),
        named("lock_that_a_runtime_reads", lock_that_a_runtime_reads),
        named("lock_that_is_a_fifo", lock_that_is_a_fifo),
        named("paths_that_json_cannot_say", paths_that_json_cannot_say),
        named("watch_without_its_source", watch_without_its_source),
        named("pins_that_are_gone", pins_that_are_gone),
        named("pins_of_an_add_that_was_killed", pins_of_an_add_that_was_killed),
    ]
}

/// `--pin-path` is a folder in which others have theirs, as /sys/fs/bpf is.
fn pins_of_others() -> Result<()> {
    let host = Host::new("strangers")?;
    host.write_primary()?;
    let others = ["cilium", "v", "vx", "3"].map(|folder| host.node.pins.join(folder).join("map"));
    for pin in &others {
        fs::create_dir_all(pin.parent().context("folder")?)?;
        let map = ["type", "array", "key", "4", "value", "4", "entries", "1", "name", "map"];
        bpftool(["map", "create", pin.to_str().context("pin")?].iter().chain(&map))?;
    }
    ensure!(host.install(&[])?.code == 0);
    ensure!(host.shuntctl("upgrade", &[])?.code == 0);
    let left = host.uninstall()?;
    ensure!(left.code == 0 && !left.json["removed"].to_string().contains("bpf"), "{left:?}");
    let layouts = shim::pins::folders(&host.node.pins);
    ensure!(others.iter().all(|pin| pin.exists()) && layouts.is_empty(), "{layouts:?}");
    Ok(fs::remove_dir_all(&host.node.pins)?)
}

fn pin_path_that_is_no_bpffs() -> Result<()> {
    let mut host = Host::new("no-bpffs")?;
    host.write_primary()?;
    host.node.pins = host.node.dir.join("precious");
    let files = ["v3/file", "v1/file", "file"].map(|file| host.node.pins.join(file));
    for file in &files {
        fs::create_dir_all(file.parent().context("folder")?)?;
        fs::write(file, "")?;
    }
    for command in ["uninstall", "upgrade", "uninstall"] {
        host.shuntctl(command, &[])?;
        ensure!(files.iter().all(|file| file.exists()), "{command}");
    }
    let watch = Watch::start(&host, &["--metrics=127.0.0.1:9477"])?;
    let told = |page: &String| page.contains("503") && page.contains("not on a bpffs");
    until("what is wrong", || Ok(get("/healthz").ok().filter(told)))?;
    watch.stop()
}

/// The entry's `logFile` had others' lines before shunt wrote into it.
fn log_of_others() -> Result<()> {
    let host = Host::new("others-log")?;
    let (others, own) = (host.node.dir.join("others.log"), host.node.dir.join("own.log"));
    for log in [&others, &own] {
        host.write_primary()?;
        if log == &others {
            fs::write(log, "Nov 29 12:00:00 node kernel: a line of another's\n")?;
        }
        let entry = host.node.dir.join("entry.json");
        fs::write(&entry, serde_json::json!({ "logFile": log }).to_string())?;
        ensure!(host.install(&[&format!("--entry={}", name(&entry))])?.code == 0);
        drop(host.pod("a", host.chain()?)?);
        ensure!(fs::read_to_string(log)?.contains("INFO"), "{} was not used", log.display());
        ensure!(host.uninstall()?.code == 0);
    }
    ensure!(others.exists() && !own.exists());
    is_gone(&host)
}

fn lock_that_a_runtime_reads() -> Result<()> {
    let mut host = Host::new("read-lock")?;
    host.write_primary()?;
    for lock in ["05-lock.conflist", "05-lock.conf", "05-lock.json"] {
        host.node.lock = host.net_dir.join(lock);
        let told = host.install(&[])?;
        let error = told.json["error"].to_string();
        ensure!(told.code == 1 && error.contains("--lock-file"), "{told:?}");
        ensure!(!host.node.lock.exists(), "{lock}");
    }
    drop(host.pod("a", host.chain()?)?);
    Ok(())
}

/// Nobody reads from it: a pod must not wait for one.
fn lock_that_is_a_fifo() -> Result<()> {
    let host = Host::new("fifo")?;
    mkfifo(&host.node.lock, Mode::from_bits_truncate(0o600))?;
    let begun = Instant::now();
    let pod = host.node.pod("a")?;
    ensure!(pod.run(|| Ok(std::net::TcpListener::bind((pod.ipv4, 80)).is_ok()))?);
    ensure!(begun.elapsed() < Duration::from_secs(60));
    let log = fs::read_to_string(host.node.log())?;
    ensure!(log.contains("cannot open the lock file"), "{log}");
    drop(pod);
    Ok(fs::remove_file(&host.node.lock)?)
}

fn paths_that_json_cannot_say() -> Result<()> {
    let host = Host::new("bytes")?;
    host.write_primary()?;
    let before = host.traces()?;
    for option in [&b"--pin-path=/sys/fs/bpf/\xff"[..], b"--lock-file=/run/\xff.lock"] {
        let mut shuntctl = shuntctl::command()?;
        let arguments = host.arguments("install")?;
        let replaced = option.split(|byte| *byte == b'=').next().unwrap_or_default();
        let others = arguments.iter().filter(|it| !it.as_bytes().starts_with(replaced));
        shuntctl.args(others).arg(OsStr::from_bytes(option)).arg("--json");
        let told = shuntctl::answer(shuntctl.output()?)?;
        ensure!(told.code == 1 && told.json["error"].to_string().contains("UTF-8"), "{told:?}");
    }
    host.is_as(&before)
}

/// The plugin lies in its place itself, or what it was taken from is gone.
fn watch_without_its_source() -> Result<()> {
    for is_in_its_place in [true, false] {
        let host = Host::new("source")?;
        host.write_primary()?;
        let placed = host.bin_dir.join("shunt");
        let source = if is_in_its_place { placed.clone() } else { host.node.dir.join("source") };
        fs::copy(tests::cni::shunt()?, &source)?;
        let call = |command| {
            let mut arguments = host.arguments(command)?;
            arguments.retain(|it| !it.starts_with("--binary"));
            let mut shuntctl = shuntctl::command()?;
            shuntctl.args(arguments).arg(format!("--binary={}", name(&source)));
            anyhow::Ok(shuntctl)
        };
        ensure!(call("install")?.stdout(Stdio::null()).status()?.success());
        let watch = Watch(call("watch")?.arg("--metrics=127.0.0.1:9477").spawn()?);
        until("health", || Ok(get("/healthz").ok().filter(|it| it.contains("200 OK"))))?;
        fs::remove_file(&source)?;
        if !is_in_its_place {
            fs::remove_file(&placed)?;
        }
        until("the plugin is back", || Ok(is_whole(&host).is_ok().then_some(())))?;
        watch.stop()?;
        ensure!(host.uninstall()?.code == 0);
        is_gone(&host)?;
    }
    Ok(())
}

/// Somebody has removed a map: what is pinned is made whole, and pods are accelerated again.
fn pins_that_are_gone() -> Result<()> {
    let host = Host::new("gone-pins")?;
    host.write_primary()?;
    for map in ["pods", "node", "habits", "sockets", "shunt_establish"] {
        ensure!(host.install(&[])?.code == 0);
        fs::remove_file(host.node.pin(map)).with_context(|| map.to_owned())?;
        let told = host.shuntctl("upgrade", &[])?;
        ensure!(told.code == 0, "{map}: {told:?}");
        host.accelerates().with_context(|| map.to_owned())?;
    }
    ensure!(host.uninstall()?.code == 0);
    is_gone(&host)
}

/// One that died between two pins, and then another of the same pod.
fn pins_of_an_add_that_was_killed() -> Result<()> {
    let host = Host::new("killed-add")?;
    let pod = host.node.pod("a")?;
    let id = pod.id()?;
    let link = |folder: &str| host.node.pin(folder).join(id.to_string());
    fs::remove_file(link("links"))?;
    ensure!(Path::new(&link("guards")).exists());
    let mut shunt = pod.chain.only("shunt");
    shunt.plugins[0]["prevResult"] = pod.result.clone();
    let another = Call { container_id: "another".into(), ..pod.call.clone() };
    shunt.add(&another)?;
    let log = fs::read_to_string(host.node.log())?;
    ensure!(host.node.datapath()?.is_attached(id)?, "{log}");
    shunt.del(&another, Some(&pod.result))
}
