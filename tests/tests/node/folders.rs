//! What a runtime finds in its folders, and in those of another: each list that has shunt can be
//! loaded and run.

use super::{is_gone, is_run_by_libcni, name, named};
use crate::install::{
    host::{Host, LIST},
    metrics::get,
    watch::{Watch, until},
};
use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use serde_json::json;
use std::{fs, os::unix::fs::symlink, thread::sleep, time::Duration};

pub fn tests() -> Vec<Trial> {
    vec![
        named("two_runtimes_with_one_bin", two_runtimes_with_one_bin),
        named("watch_where_no_runtime_looks", watch_where_no_runtime_looks),
        named("first_in_the_lists_folder", first_in_the_lists_folder),
        named("another_plugin_by_its_keys", another_plugin_by_its_keys),
        named("what_libcni_cannot_load", what_libcni_cannot_load),
        named("pins_of_another_install", pins_of_another_install),
    ]
}

/// A second folder of configurations, of another runtime that has the plugins in common.
fn two_runtimes_with_one_bin() -> Result<()> {
    let host = Host::new("shared")?;
    host.write_primary()?;
    let mut other = Host::new("shared-other")?;
    let before = host.traces()?;
    (other.bin_dir, other.node.pins, other.node.lock) =
        (host.bin_dir.clone(), host.node.pins.clone(), host.node.lock.clone());
    other.write_primary()?;
    ensure!(host.install(&[])?.code == 0 && other.install(&[])?.code == 0);
    let watch = Watch::start(&other, &[])?;
    let left = host.uninstall()?;
    ensure!(left.code == 0 && left.json["wanted_by"] == json!(other.net_dir), "{left:?}");
    ensure!(fs::read_to_string(host.list())? == host.primary(0));
    // That one is kept as before, this one left alone.
    fs::write(other.list(), other.primary(1))?;
    until("the entry", || Ok((super::naming(&other)?.len() == 1).then_some(())))?;
    is_run_by_libcni(&other)?;
    let kept = Watch::start(&host, &[])?;
    until("the entry", || Ok((super::naming(&host)?.len() == 1).then_some(())))?;
    ensure!(host.uninstall()?.code == 0);
    sleep(Duration::from_secs(1));
    ensure!(super::naming(&host)?.is_empty(), "watch puts it back");
    drop((watch, kept));
    ensure!(other.uninstall()?.code == 0);
    is_gone(&host)?;
    fs::remove_file(crate::install::watch::log(&host))?;
    fs::remove_file(other.list())?;
    host.is_as(&before)
}

fn watch_where_no_runtime_looks() -> Result<()> {
    let mut host = Host::new("no-bin")?;
    host.write_primary()?;
    let bin_dir = host.bin_dir.clone();
    host.bin_dir = host.node.dir.join("other-bin");
    fs::create_dir(&host.bin_dir)?;
    let watch = Watch::start(&host, &["--metrics=127.0.0.1:9476"])?;
    sleep(Duration::from_secs(1));
    ensure!(fs::read_to_string(host.list())? == host.primary(0));
    drop(watch);
    ensure!(host.uninstall()?.code == 0);
    host.bin_dir = bin_dir;
    let watch = Watch::start(&host, &["--metrics=127.0.0.1:9477"])?;
    until("200", || Ok(get("/healthz").ok().filter(|it| it.contains("200 OK"))))?;
    fs::write(host.list(), host.primary(1).replace("\"bridge\"", "\"missing\""))?;
    let told = until("503", || Ok(get("/healthz").ok().filter(|it| it.contains("503 "))))?;
    ensure!(told.contains("`missing` is not in"), "{told}");
    host.write_primary()?;
    watch.stop()?;
    ensure!(host.uninstall()?.code == 0);
    is_gone(&host)
}

/// Whatever the others are called: shunt does not come first.
fn first_in_the_lists_folder() -> Result<()> {
    for version in ["zz-tune.conf", "zzz.conf", "~.conf", "10.conf"] {
        let host = Host::new("list-folder")?;
        let plugins = serde_json::from_str::<serde_json::Value>(&host.primary(0))?;
        let list = json!({"cniVersion": "1.0.0", "name": host.node.name});
        fs::write(host.list(), list.to_string())?;
        let folder = host.net_dir.join(&host.node.name);
        fs::create_dir(&folder)?;
        fs::write(folder.join(version), plugins["plugins"][0].to_string())?;
        let before = host.traces()?;
        for by_hand in [false, true] {
            if by_hand {
                fs::write(folder.join("05.conf"), json!({"type": "shunt", "excludedPorts": [80], "pinPath": host.node.pins, "lockFile": host.node.lock}).to_string())?;
            }
            let installed = host.install(&[])?;
            ensure!(installed.code == 0, "{installed:?}");
            let naming = super::naming(&host)?;
            ensure!(naming.len() == 1 && naming[0] > folder.join(version), "{naming:?}");
            ensure!(fs::read_to_string(&naming[0])?.contains("excludedPorts") == by_hand);
            ensure!(host.install(&[])?.json["changed"] == json!([]));
            ensure!(host.uninstall()?.code == 0);
            host.is_as(&before)?;
        }
    }
    Ok(())
}

/// encoding/json takes keys in any case, and of two the last.
fn another_plugin_by_its_keys() -> Result<()> {
    let host = Host::new("by-keys")?;
    let list = json!({"cniVersion": "1.0.0", "name": "net", "type": "shunt", "plugins": [{"type": "bridge"}]});
    let conf = r#"{"cniVersion":"1.0.0","name":"net","type":"bridge","Type":"shunt"}"#;
    let turned = r#"{"cniVersion":"1.0.0","name":"net","Type":"shunt","type":"bridge"}"#;
    let plugin =
        r#"{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"bridge","Type":"shunt"}]}"#;
    let derived = json!({"cniVersion": "1.0.0", "name": "mine", "plugins": [{"type": "bridge"}]});
    for (file, text, refused_by) in [
        (LIST, &*list.to_string(), "install uninstall"),
        ("10-a.conf", conf, "install uninstall"),
        ("10-a.conf", turned, "install uninstall"),
        (LIST, plugin, "install uninstall"),
        ("10-a.-shunt.conflist", &*derived.to_string(), "install"),
    ] {
        let path = host.net_dir.join(file);
        fs::write(&path, text)?;
        for command in ["install", "uninstall"] {
            let more: &[&str] = if command == "uninstall" { &["--settle=0s"] } else { &[] };
            let answer = host.shuntctl(command, more)?;
            let is_refused = refused_by.split(' ').any(|it| it == command);
            ensure!(answer.code == i32::from(is_refused), "{text}: {answer:?}");
            let error = answer.json["error"].as_str().unwrap_or_default();
            ensure!(!is_refused || error.contains(&name(&path)), "{text}: {answer:?}");
            ensure!(fs::read_to_string(&path)? == text);
        }
        fs::remove_file(&path)?;
    }
    host.write_primary()?;
    ensure!(host.uninstall()?.code == 0);
    is_gone(&host)
}

fn what_libcni_cannot_load() -> Result<()> {
    let host = Host::new("unloadable")?;
    symlink(tests::cni::find("portmap")?, host.bin_dir.join("portmap"))?;
    let text = host.primary(0);
    let plugin =
        |plugin: &str| text.replacen("\"plugins\": [", &format!("\"plugins\": [{plugin},"), 1);
    for (name, text) in [
        (LIST, text.replace("\"name\":", "\"nom\":")),
        (LIST, plugin("{}")),
        (LIST, plugin("null")),
        (LIST, plugin("\"portmap\"")),
        (LIST, plugin(r#"{"type":"portmap","capabilities":["portMappings"]}"#)),
        (LIST, plugin(r#"{"type":"portmap","dns":5}"#)),
        (LIST, plugin(r#"{"type":"portmap","ipam":"x"}"#)),
        (LIST, plugin(r#"{"type":"portmap","prevResult":"x"}"#)),
        (LIST, plugin(r#"{"type":"portmap","prevResult":true}"#)),
        (LIST, plugin(r#"{"type":"portmap","dnſ":5}"#)),
        (LIST, plugin(r#"{"type":"portmap","ipam":{"Type":5}}"#)),
        ("10-primary.conf", text.clone()),
    ] {
        let path = host.net_dir.join(name);
        fs::write(&path, &text)?;
        ensure!(is_run_by_libcni(&host).is_err(), "libcni loads it: {text}");
        let refused = host.install(&["--runtime=containerd"])?;
        let error = refused.json["error"].as_str().context("no error")?;
        ensure!(refused.code == 1 && error.contains(name), "{text}: {refused:?}");
        ensure!(fs::read_to_string(&path)? == text);
        // CRI-O takes the next.
        let next = host.net_dir.join("20-next.conflist");
        fs::write(&next, host.primary(1))?;
        let installed = host.install(&["--runtime=cri-o"])?;
        ensure!(installed.json["changed"] == json!([next]), "{text}: {installed:?}");
        ensure!(host.uninstall()?.code == 0);
        fs::remove_file(next)?;
        fs::remove_file(path)?;
    }
    // No more of a name than what a runtime looks at.
    let bare = host.net_dir.join(".conflist");
    fs::write(&bare, host.primary(0))?;
    ensure!(host.install(&[])?.json["changed"] == json!([bare]));
    is_run_by_libcni(&host)?;
    ensure!(host.uninstall()?.code == 0 && fs::read_to_string(&bare)? == host.primary(0));
    is_gone(&host)
}

/// They are named, with the call that removes them.
fn pins_of_another_install() -> Result<()> {
    let host = Host::new("pins-one")?;
    host.write_primary()?;
    let before = host.traces()?;
    let mut other = Host::new("pins-two")?;
    (other.net_dir, other.bin_dir) = (host.net_dir.clone(), host.bin_dir.clone());
    ensure!(host.install(&[])?.code == 0 && other.install(&[])?.code == 0);
    let left = host.uninstall()?;
    let stays = left.json["stays"][0].as_str().context("nothing stays")?;
    ensure!(left.code == 1 && stays.contains(&name(&other.node.pins)), "{left:?}");
    ensure!(stays.contains(&format!("--lock-file {}", other.node.lock.display())), "{left:?}");
    ensure!(other.uninstall()?.code == 0);
    drop(other);
    host.is_as(&before)
}
