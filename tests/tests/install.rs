//! shuntctl puts shunt on a node, keeps it there, and takes it off without a trace.

pub mod host;
pub mod metrics;
pub mod watch;

use anyhow::{Context, Result, ensure};
use host::{Host, LIST, talk};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};
use tests::{
    cni::Chain,
    node::Node,
    shuntctl::{self, Answer},
    task::PATIENCE,
    trial,
};

pub fn tests() -> Vec<Trial> {
    let here = vec![
        trial("install::pods_are_accelerated_and_nothing_is_left", leaves_nothing),
        trial("install::half_installed_is_taken_off", half_installed),
        trial("install::where_the_runtime_looks", where_the_runtime_looks),
        trial("install::what_counts_later", what_counts_later),
        trial("install::waits_for_a_primary", waits_for_a_primary),
        trial("install::tells_and_changes_nothing", tells_and_changes_nothing),
        trial("install::a_node_that_cannot_accelerate", cannot_accelerate),
    ];
    [here, watch::tests(), metrics::tests()].into_iter().flatten().collect()
}

fn leaves_nothing() -> Result<()> {
    let host = Host::new("leaves")?;
    host.write_primary()?;
    let before = host.traces()?;
    let log = host.node.log();
    let entry = host.node.dir.join("entry.json");
    fs::write(&entry, json!({"logFile": log, "queueLimit": 1 << 20}).to_string())?;
    let entry = format!("--entry={}", entry.display());

    let installed = host.install(&[&entry])?;
    ensure!(installed.code == 0 && installed.json["binary_placed"] == true, "{installed:?}");
    ensure!(installed.json["changed"] == json!([host.list()]), "{installed:?}");
    ensure!(installed.json["cannot_accelerate"].is_null(), "{installed:?}");
    let file = fs::metadata(host.list())?;
    ensure!((file.mode() & 0o7777, file.uid(), file.gid()) == (0o640, 12, 34));
    let text = fs::read_to_string(host.list())?;
    ensure!(host.chain()?.plugins[1]["queueLimit"] == 1 << 20, "{text}");
    ensure!(host.node.pins.exists());

    let again = host.install(&[&entry])?;
    ensure!(again.code == 0 && again.json["binary_placed"] == false, "{again:?}");
    ensure!(again.json["changed"] == json!([]), "{again:?}");
    ensure!(fs::read_to_string(host.list())? == text);

    host.accelerates()?;
    let mut pod = host.pod("survivor", host.chain()?)?;
    ensure!(log.exists());
    let removed = host.uninstall()?;
    ensure!(removed.code == 0, "{removed:?}");
    fs::remove_file(host.node.dir.join("entry.json"))?;
    host.is_as(&before)?;
    // A pod that was there is deleted, and a new one starts, with the chain as it is now.
    pod.chain = host.chain()?;
    pod.chain.del(&pod.call, Some(&pod.result))?;
    host.pod("new", host.chain()?)?;
    fs::copy(tests::cni::shunt()?, host.bin_dir.join("shunt"))?;
    let kept = host.shuntctl("uninstall", &["--keep-binary"])?;
    ensure!(kept.code == 0 && host.bin_dir.join("shunt").exists(), "{kept:?}");
    let again = host.uninstall()?;
    ensure!(again.code == 0 && again.json["changed"] == json!([]), "{again:?}");
    host.is_as(&before)?;
    Ok(())
}

/// Whatever part of it is there.
fn half_installed() -> Result<()> {
    let host = Host::new("half")?;
    host.write_primary()?;
    let before = host.traces()?;
    type Break = fn(&Host) -> io::Result<()>;
    let breaks: [Break; 5] = [
        |host| fs::remove_file(host.bin_dir.join("shunt")),
        |host| fs::remove_dir_all(&host.node.pins),
        |host| fs::remove_file(host.node.pin("shunt_establish")),
        |host| host.write_primary().map_err(io::Error::other),
        // As a process leaves it that was killed while writing.
        |host| fs::write(host.net_dir.join(format!("{LIST}.shunt-new")), "{"),
    ];
    for broken in breaks {
        ensure!(host.install(&[])?.code == 0);
        broken(&host)?;
        let removed = host.uninstall()?;
        ensure!(removed.code == 0, "{removed:?}");
        host.is_as(&before)?;
    }
    // What cannot be read may name shunt: the binary must stay.
    ensure!(host.install(&[])?.code == 0);
    let half = fs::read_to_string(host.list())?;
    let half = &half[..half.len() - 4];
    fs::write(host.list(), half)?;
    ensure!(host.uninstall()?.code == 1);
    ensure!(host.bin_dir.join("shunt").exists() && host.node.pins.exists());
    ensure!(fs::read_to_string(host.list())? == half);
    Ok(())
}

/// Debian's containerd looks in /usr/lib/cni.
fn where_the_runtime_looks() -> Result<()> {
    let host = Host::new("elsewhere")?;
    host.write_primary()?;
    fs::remove_file(host.bin_dir.join("bridge"))?;
    let refused = host.install(&[])?;
    let told = refused.json["error"].as_str().is_some_and(|error| error.contains("--bin-dir"));
    ensure!(refused.code == 1 && told, "{refused:?}");
    ensure!(fs::read_to_string(host.list())? == host.primary(0));
    fs::write(host.bin_dir.join("bridge"), "")?;
    ensure!(host.install(&[])?.code == 0);
    // Who forgets the option is told of it, and not that no pod can be made.
    let Node { pins, lock, dir, .. } = &host.node;
    let mut doctor = shuntctl::command()?;
    doctor.arg("doctor").arg("--net-dir").arg(&host.net_dir).arg("--bin-dir").arg(dir);
    let doctor = doctor.arg("--pin-path").arg(pins).arg("--lock-file").arg(lock).output()?;
    let told = String::from_utf8(doctor.stdout)?;
    let is_told = told.contains(&format!("the plugin is in {}", host.bin_dir.display()));
    ensure!(is_told && !told.contains("no pod can be made"), "{told}");
    // One that moves leaves the first, and says so.
    let other = dir.join("other-bin");
    fs::create_dir(&other)?;
    fs::write(other.join("bridge"), "")?;
    let mut moves = shuntctl::command()?;
    moves.arg("install").arg("--net-dir").arg(&host.net_dir).arg("--bin-dir").arg(&other);
    moves.arg("--binary").arg(tests::cni::shunt()?);
    let moved = moves.arg("--pin-path").arg(pins).arg("--lock-file").arg(lock).output()?;
    let told = String::from_utf8(moved.stdout)?;
    ensure!(told.contains(&format!("{} has the plugin too", host.bin_dir.display())), "{told}");
    Ok(())
}

/// `watch` and `mode` are for who loads the programs: an entry that comes later is not in force, and that is told.
fn what_counts_later() -> Result<()> {
    let host = Host::new("later")?;
    host.write_primary()?;
    let entry = host.node.dir.join("entry.json");
    let by = format!("--entry={}", entry.display());
    let told = |answer: &Answer| answer.json["not_in_force"].as_array().map_or(0, Vec::len);
    let first = host.install(&[])?;
    ensure!(first.code == 0 && told(&first) == 0, "{first:?}");
    fs::write(&entry, r#"{"watch": "syscalls", "mode": "observe"}"#)?;
    let later = host.install(&[&by])?;
    ensure!(later.code == 0 && told(&later) == 2, "{later:?}");
    ensure!(host.uninstall()?.code == 0);
    let anew = host.install(&[&by])?;
    ensure!(anew.code == 0 && told(&anew) == 0, "{anew:?}");
    let doctor = host.shuntctl("doctor", &[])?;
    let watch = doctor.lines.iter().find(|it| it["check"] == "watch").context("no watch")?;
    ensure!(watch["verdict"] == "ok", "{watch}");
    Ok(())
}

fn waits_for_a_primary() -> Result<()> {
    let host = Host::new("waits")?;
    let before = host.traces()?;
    let none = host.install(&[])?;
    ensure!(none.code == 4 && none.json["primary"].is_null(), "{none:?}");
    let mut waiting = shuntctl::command()?
        .args(host.arguments("install")?)
        .arg(format!("--wait={}s", PATIENCE.as_secs()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    sleep(Duration::from_millis(300));
    // Half of it first: that is not to be touched.
    let text = host.primary(0);
    fs::write(host.list(), &text[..text.len() / 2])?;
    sleep(Duration::from_millis(500));
    ensure!(fs::read_to_string(host.list())? == text[..text.len() / 2]);
    fs::write(host.list(), &text)?;
    ensure!(waiting.wait()?.success());
    ensure!(host.chain()?.plugins.len() == 2);
    host.accelerates()?;
    ensure!(host.uninstall()?.code == 0);
    fs::remove_file(host.list())?;
    host.is_as(&before)?;
    Ok(())
}

fn tells_and_changes_nothing() -> Result<()> {
    let host = Host::new("tells")?;
    host.write_primary()?;
    let entry = host.node.dir.join("entry.json");
    fs::write(&entry, r#"{"queueLimit": "much"}"#)?;
    let before = host.traces()?;
    let dry = host.install(&["--dry-run"])?;
    let diff = dry.json["diff"].as_str().context("no diff")?;
    ensure!(dry.code == 0 && diff.contains("+      \"type\": \"shunt\""), "{dry:?}");
    host.is_as(&before)?;
    // The plugin would fail every pod.
    let wrong = host.install(&[&format!("--entry={}", entry.display())])?;
    let error = wrong.json["error"].as_str().context("no error")?;
    ensure!(wrong.code == 1 && error.contains("queueLimit"), "{wrong:?}");
    host.is_as(&before)?;
    fs::write(host.list(), host.primary(0).replace("1.0.0", "0.2.0"))?;
    let old = host.install(&[])?;
    ensure!(old.code == 1 && old.json["error"].as_str().is_some_and(|e| e.contains("0.2.0")));
    ensure!(fs::read_to_string(host.list())?.contains("0.2.0"));
    Ok(())
}

/// Its pods are as they would be without shunt.
fn cannot_accelerate() -> Result<()> {
    let mut host = Host::new("cannot")?;
    host.node.pins = host.node.dir.join("no-bpffs");
    host.write_primary()?;
    let before = host.traces()?;
    let refused = host.install(&["--must-accelerate"])?;
    ensure!(refused.code == 3, "{refused:?}");
    host.is_as(&before)?;
    let installed = host.install(&[])?;
    let why = installed.json["cannot_accelerate"].as_str().context("no reason")?;
    ensure!(installed.code == 0 && why.contains("bpffs"), "{installed:?}");
    let (a, b) = (host.pod("a", host.chain()?)?, host.pod("b", host.chain()?)?);
    talk(&a, &b)?;
    drop((a, b));
    ensure!(host.uninstall()?.code == 0);
    host.is_as(&before)?;
    Ok(())
}
