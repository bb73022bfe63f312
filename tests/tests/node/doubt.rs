//! The plugin stays as long as any file may name it.

use super::{is_gone, is_run_by_libcni, is_whole, name, named, naming};
use crate::install::host::Host;
use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::Path,
    process::Command,
};
use tests::shuntctl::Answer;

pub fn tests() -> Vec<Trial> {
    vec![
        named("unreadable_list", unreadable_list),
        named("second_delegate", second_delegate),
        named("set_aside", set_aside),
        named("drop_in_by_hand", drop_in_by_hand),
        named("half_written_list", half_written_list),
        named("other_files_that_name_it", other_files_that_name_it),
        named("empty_first", empty_first),
    ]
}

/// Plugin and programs are there, and the answer names the file, what stays, and what to do.
fn stays(host: &Host, answer: &Answer, file: &Path) -> Result<()> {
    let told = &answer.json;
    ensure!(answer.code == 1, "{answer:?}");
    ensure!(told["error"].as_str().is_some_and(|it| it.contains(&name(file))), "{answer:?}");
    ensure!(told["stays"].as_str().is_some_and(|it| it.contains("plugin")), "{answer:?}");
    ensure!(told["next"].as_str().is_some_and(|it| it.contains("uninstall")), "{answer:?}");
    ensure!(host.bin_dir.join("shunt").exists() && host.node.pins.exists());
    Ok(())
}

fn unreadable_list() -> Result<()> {
    let host = Host::new("unreadable")?;
    host.write_primary()?;
    ensure!(host.install(&[])?.code == 0);
    chown(host.list(), Some(4711), None)?;
    fs::set_permissions(host.list(), fs::Permissions::from_mode(0o600))?;
    let uninstall = super::with_capabilities("bpf", &host, "uninstall", &["--settle=0s"])?;
    stays(&host, &uninstall, &host.list())?;
    is_run_by_libcni(&host)?;
    ensure!(host.uninstall()?.code == 0);
    is_gone(&host)
}

fn second_delegate() -> Result<()> {
    let host = Host::new("delegates")?;
    let with = |list: &str| -> Result<Value> {
        let mut list: Value = serde_json::from_str(list)?;
        let plugins = list["plugins"].as_array_mut().context("plugins")?;
        plugins
            .push(json!({"type": "shunt", "pinPath": host.node.pins, "lockFile": host.node.lock}));
        Ok(list)
    };
    let plain: Value = serde_json::from_str(&host.primary(0))?;
    let multus = |second: Value| json!({"cniVersion": "1.0.0", "name": "multus", "type": "multus", "delegates": [plain, second]});
    let file = host.net_dir.join("00-multus.conf");
    fs::write(&file, multus(with(&host.primary(1))?).to_string())?;
    fs::write(host.bin_dir.join("multus"), "#!/bin/sh\n")?;
    ensure!(host.install(&[])?.code == 0);
    ensure!(host.uninstall()?.code == 0);
    ensure!(
        fs::read_to_string(&file)? == multus(serde_json::from_str(&host.primary(1))?).to_string()
    );
    // Deeper than any runtime is known to look.
    let deep = json!({"cniVersion": "1.0.0", "name": "deep", "type": "multus", "more": [[with(&host.primary(1))?]]});
    fs::write(&file, deep.to_string())?;
    fs::copy(tests::cni::shunt()?, host.bin_dir.join("shunt"))?;
    fs::create_dir_all(&host.node.pins)?;
    stays(&host, &host.uninstall()?, &file)?;
    ensure!(fs::read_to_string(&file)? == deep.to_string());
    Ok(())
}

/// As cilium does with its rival's list.
fn set_aside() -> Result<()> {
    let host = Host::new("aside")?;
    host.write_primary()?;
    ensure!(host.install(&[])?.code == 0);
    let aside = host.list().with_extension("conflist.cilium_bak");
    fs::rename(host.list(), &aside)?;
    fs::write(host.net_dir.join("05-other.conflist"), host.primary(1))?;
    ensure!(host.uninstall()?.code == 0);
    fs::remove_file(host.net_dir.join("05-other.conflist"))?;
    fs::rename(&aside, host.list())?;
    ensure!(fs::read_to_string(host.list())? == host.primary(0));
    is_gone(&host)
}

fn drop_in_by_hand() -> Result<()> {
    let host = Host::new("by-hand")?;
    host.write_primary()?;
    let folder = host.net_dir.join(&host.node.name);
    fs::create_dir(&folder)?;
    let own = json!({"type": "shunt", "excludedPorts": [80], "pinPath": host.node.pins, "lockFile": host.node.lock});
    fs::write(folder.join("90-shunt.conf"), own.to_string())?;
    ensure!(host.install(&[])?.code == 0);
    let naming = naming(&host)?;
    ensure!(
        naming.len() == 1 && fs::read_to_string(&naming[0])?.contains("excludedPorts"),
        "{naming:?}"
    );
    is_whole(&host)?;
    ensure!(host.uninstall()?.code == 0);
    is_gone(&host)?;
    // Beside another's plugin it stays in its file.
    fs::write(folder.join("50-tuning.conf"), json!({"type": "tuning"}).to_string())?;
    symlink(tests::cni::find("tuning")?, host.bin_dir.join("tuning"))?;
    fs::write(folder.join("90-shunt.conf"), own.to_string())?;
    ensure!(host.install(&[])?.code == 0);
    ensure!(super::naming(&host)? == [folder.join("90-shunt.conf")]);
    is_run_by_libcni(&host)?;
    ensure!(host.uninstall()?.code == 0);
    is_gone(&host)
}

/// Its writer ends it, or is gone.
fn half_written_list() -> Result<()> {
    let host = Host::new("half-list")?;
    host.write_primary()?;
    ensure!(host.install(&[])?.code == 0);
    let whole = fs::read_to_string(host.list())?;
    fs::write(host.list(), &whole[..whole.len() / 2])?;
    stays(&host, &host.uninstall()?, &host.list())?;
    fs::write(host.list(), whole)?;
    ensure!(host.uninstall()?.code == 0);
    is_gone(&host)
}

fn other_files_that_name_it() -> Result<()> {
    let host = Host::new("others")?;
    host.write_primary()?;
    ensure!(host.install(&[])?.code == 0);
    let deep = host.net_dir.join("multus.d/saved");
    fs::create_dir_all(&deep)?;
    let file = deep.join("state.yaml");
    fs::write(&file, "plugins: [{type: \"shunt\"}]\n")?;
    stays(&host, &host.uninstall()?, &file)?;
    fs::remove_file(&file)?;
    let gone = host.net_dir.join("20-gone.conflist");
    symlink("nowhere", &gone)?;
    stays(&host, &host.uninstall()?, &gone)?;
    fs::remove_file(&gone)?;
    // Nobody waits for a pipe that nobody writes to.
    ensure!(Command::new("mkfifo").arg(&gone).status()?.success());
    stays(&host, &host.uninstall()?, &gone)?;
    fs::remove_file(&gone)?;
    fs::write(host.net_dir.join("kubeconfig"), "users: [{name: shunt}]\n")?;
    ensure!(host.uninstall()?.code == 0);
    is_gone(&host)
}

/// containerd has no network then, CRI-O takes the next.
fn empty_first() -> Result<()> {
    let host = Host::new("empty")?;
    host.write_primary()?;
    let empty = host.net_dir.join("00-x.conf");
    fs::write(&empty, "")?;
    let refused = host.install(&["--runtime=containerd"])?;
    let error = refused.json["error"].as_str().context("no error")?;
    ensure!(
        refused.code == 1 && error.contains("is empty") && error.contains("00-x.conf"),
        "{error}"
    );
    ensure!(naming(&host)?.is_empty());
    let installed = host.install(&["--runtime=cri-o"])?;
    ensure!(
        installed.code == 0 && installed.json["changed"] == json!([host.list()]),
        "{installed:?}"
    );
    ensure!(installed.json["skipped"][0].as_str().is_some_and(|it| it.contains("is empty")));
    ensure!(host.uninstall()?.code == 0);
    ensure!(fs::read(&empty)?.is_empty());
    fs::remove_file(&empty)?;
    is_gone(&host)
}
