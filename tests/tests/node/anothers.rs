//! What has a name of shunt's, and is another's.

use super::{is_gone, name, named};
use crate::install::host::{Host, LIST};
use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use serde_json::json;
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::PathBuf,
};

pub fn tests() -> Vec<Trial> {
    vec![
        named("lists_of_anothers_shunt", lists_of_anothers_shunt),
        named("dangling_link_of_anothers", dangling_link_of_anothers),
        named("lock_file_with_content", lock_file_with_content),
        named("claim_is_a_link", claim_is_a_link),
        named("upgrade_of_nothing", upgrade_of_nothing),
    ]
}

fn lists_of_anothers_shunt() -> Result<()> {
    let host = Host::new("namesake")?;
    let place = host.bin_dir.join("shunt");
    fs::write(&place, "#!/bin/sh\ncat\n")?;
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755))?;
    let plugin = |kind: &str| json!({"cniVersion": "1.0.0", "name": "q", "type": kind, "mine": 1});
    let list =
        json!({"cniVersion": "1.0.0", "name": "q", "plugins": [plugin("bridge"), plugin("shunt")]});
    for (file, text) in [
        ("10-a.conf", plugin("shunt")),
        (LIST, list.clone()),
        (LIST, json!({"cniVersion": "1.0.0", "name": "q", "plugins": [plugin("shunt")]})),
        ("10-a.-shunt.conflist", list),
    ] {
        let file = host.net_dir.join(file);
        fs::write(&file, text.to_string())?;
        let before = host.traces()?;
        let refused = host.uninstall()?;
        let error = refused.json["error"].as_str().context("no error")?;
        ensure!(refused.code == 1 && error.contains("is not shunt's"), "{refused:?}");
        ensure!(refused.json["done"] == json!([]), "{refused:?}");
        host.is_as(&before)?;
        fs::remove_file(&file)?;
    }
    Ok(())
}

/// Into a folder that is not mounted yet, say.
fn dangling_link_of_anothers() -> Result<()> {
    let host = Host::new("dangling-shunt")?;
    host.write_primary()?;
    let place = host.bin_dir.join("shunt");
    symlink("/opt/theirs/shunt", &place)?;
    let refused = host.install(&[])?;
    let error = refused.json["error"].as_str().context("no error")?;
    ensure!(refused.code == 1 && error.contains("is not shunt's"), "{refused:?}");
    let left = host.uninstall()?;
    ensure!(left.code == 1 && left.json["stays"][0].as_str().is_some(), "{left:?}");
    ensure!(fs::read_link(&place)? == PathBuf::from("/opt/theirs/shunt"));
    ensure!(fs::read_to_string(host.list())? == host.primary(0));
    fs::remove_file(&place)?;
    is_gone(&host)
}

/// Nothing was changed, and it is said why.
fn refuses(host: &Host, file: &str) -> Result<()> {
    let before = host.traces()?;
    for command in ["install", "uninstall"] {
        let refused = host.shuntctl(command, &[])?;
        let error = refused.json["error"].as_str().context("no error")?;
        ensure!(refused.code == 1 && error.contains(file), "{command}: {refused:?}");
        ensure!(!error.contains("cannot be parsed"), "{command}: {refused:?}");
        host.is_as(&before)?;
    }
    Ok(())
}

fn lock_file_with_content() -> Result<()> {
    let mut host = Host::new("their-lock")?;
    host.write_primary()?;
    host.node.lock = host.node.dir.join("precious");
    fs::write(&host.node.lock, "theirs")?;
    refuses(&host, &name(&host.node.lock))?;
    fs::remove_file(&host.node.lock)?;
    symlink("elsewhere", &host.node.lock)?;
    refuses(&host, &name(&host.node.lock))?;
    fs::remove_file(&host.node.lock)?;
    // An empty one may be shunt's.
    fs::write(&host.node.lock, "")?;
    ensure!(host.install(&[])?.code == 0 && host.uninstall()?.code == 0);
    ensure!(!host.node.lock.exists());
    is_gone(&host)
}

fn claim_is_a_link() -> Result<()> {
    let host = Host::new("their-claim")?;
    host.write_primary()?;
    let theirs = host.node.dir.join("theirs");
    fs::write(&theirs, "theirs")?;
    let claim = format!("{}.installed", host.node.lock.display());
    symlink(&theirs, &claim)?;
    let refused = host.install(&[])?;
    ensure!(refused.code == 1 && refused.json.to_string().contains("it is a link"), "{refused:?}");
    refuses(&host, &claim)?;
    ensure!(fs::read_to_string(&theirs)? == "theirs");
    fs::remove_file(&claim)?;
    ensure!(host.uninstall()?.code == 0);
    is_gone(&host)
}

/// A node that shunt is not on stays one.
fn upgrade_of_nothing() -> Result<()> {
    let host = Host::new("not-pinned")?;
    host.write_primary()?;
    let before = host.traces()?;
    let mut arguments = host.arguments("upgrade")?;
    arguments.retain(|argument| !argument.starts_with("--binary"));
    let told = tests::shuntctl::run(arguments)?;
    ensure!(told.code == 0 && told.json["layout"].is_null(), "{told:?}");
    host.is_as(&before)
}
