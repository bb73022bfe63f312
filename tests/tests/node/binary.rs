//! The plugin that a list names can be run.

use super::{is_gone, is_whole, named};
use crate::install::{
    host::Host,
    metrics::get,
    watch::{Watch, until},
};
use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::Value;
use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
};
use tests::shuntctl;

pub fn tests() -> Vec<Trial> {
    vec![
        named("mode_lost", mode_lost),
        named("dangling_plugin", dangling_plugin),
        named("read_only_bin", read_only_bin),
        named("noexec_bin", noexec_bin),
        named("another_bin_dir", another_bin_dir),
    ]
}

/// The runtime has its plugins in another folder, and nobody said so.
fn another_bin_dir() -> Result<()> {
    let mut host = Host::new("other-bin-dir")?;
    host.write_primary()?;
    let before = host.traces()?;
    let (right, wrong) = (host.bin_dir.clone(), host.node.dir.join("nowhere"));
    host.bin_dir = wrong.clone();
    let told = host.install(&[])?;
    ensure!(told.code == 1 && format!("{told:?}").contains("--bin-dir"), "{told:?}");
    host.bin_dir = right.clone();
    host.is_as(&before)?;
    ensure!(host.install(&[])?.code == 0);
    host.bin_dir = wrong;
    let told = host.uninstall()?;
    let remedy = format!("--bin-dir {}", right.display());
    ensure!(told.code == 1 && format!("{told:?}").contains(&remedy), "{told:?}");
    host.bin_dir = right;
    ensure!(host.uninstall()?.code == 0);
    host.is_as(&before)
}

type Break = fn(&Path) -> io::Result<()>;

/// What somebody may do to the file.
const BREAKS: [(&str, Break); 5] = [
    ("mode", |path| fs::set_permissions(path, fs::Permissions::from_mode(0o644))),
    ("bytes", |path| fs::write(path, "")),
    ("gone", |path| fs::remove_file(path)),
    ("another's", |path| std::os::unix::fs::chown(path, Some(4711), None)),
    ("a link to nowhere", |path| replaced_by_a_link(path)),
];

/// At once, as `watch` may put the plugin back in between.
fn replaced_by_a_link(path: &Path) -> io::Result<()> {
    let link = path.with_extension("link");
    symlink("nowhere", &link)?;
    fs::rename(link, path)
}

fn finding(host: &Host) -> Result<Value> {
    let doctor = shuntctl::run([
        "doctor",
        &format!("--net-dir={}", host.net_dir.display()),
        &format!("--bin-dir={}", host.bin_dir.display()),
        &format!("--pin-path={}", host.node.pins.display()),
    ])?;
    let finding = doctor.lines.into_iter().find(|line| line["check"] == "conflist");
    Ok(finding.unwrap_or_default())
}

fn mode_lost() -> Result<()> {
    let host = Host::new("mode")?;
    host.write_primary()?;
    let binary = host.bin_dir.join("shunt");
    for (what, broken) in BREAKS {
        ensure!(host.install(&[])?.code == 0);
        ensure!(finding(&host)?["verdict"] == "ok", "{}", finding(&host)?);
        broken(&binary)?;
        if what != "another's" {
            let told = finding(&host)?;
            ensure!(told["verdict"] == "no", "{what}: {told}");
        }
        let again = host.install(&[])?;
        ensure!(again.code == 0 && again.json["binary_placed"] == true, "{what}: {again:?}");
        let file = fs::symlink_metadata(&binary)?;
        ensure!(file.is_file() && file.mode() & 0o7777 == 0o755 && file.uid() == 0, "{what}");
    }
    is_whole(&host)?;
    let _watch = Watch::start(&host, &["--metrics=127.0.0.1:9477"])?;
    let health =
        |is: &'static str| until(is, || Ok(get("/healthz").ok().filter(|it| it.contains(is))));
    health("200 OK")?;
    for (what, broken) in BREAKS {
        broken(&binary)?;
        until(what, || {
            let file = fs::symlink_metadata(&binary);
            let is_back =
                file.is_ok_and(|it| it.is_file() && it.mode() & 0o7777 == 0o755 && it.uid() == 0);
            Ok((is_back && fs::read(&binary)? == fs::read(tests::cni::shunt()?)?).then_some(()))
        })?;
    }
    // What cannot be put back is told.
    let folder = fs::File::open(&host.bin_dir)?;
    mounted(&host.bin_dir, MsFlags::MS_RDONLY, || {
        // By the mount below, which can be written.
        nix::unistd::unlinkat(&folder, "shunt", nix::unistd::UnlinkatFlags::NoRemoveDir)?;
        health("503 Service").map(drop)
    })?;
    health("200 OK")?;
    is_whole(&host)
}

/// With the folder mounted so.
fn mounted(folder: &Path, flags: MsFlags, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let none = None::<&str>;
    mount(Some(folder), folder, none, MsFlags::MS_BIND, none)?;
    mount(none, folder, none, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | flags, none)?;
    let done = act();
    umount2(folder, MntFlags::MNT_DETACH)?;
    done
}

/// k3s' and RKE2's are links into a folder that no container sees.
fn dangling_plugin() -> Result<()> {
    let host = Host::new("dangling")?;
    host.write_primary()?;
    let bridge = host.bin_dir.join("bridge");
    fs::remove_file(&bridge)?;
    symlink("/var/lib/rancher/k3s/data/current/bin/cni", &bridge)?;
    let installed = host.install(&[])?;
    ensure!(installed.code == 0, "{installed:?}");
    fs::remove_file(&bridge)?;
    symlink(tests::cni::find("bridge")?, &bridge)?;
    is_whole(&host)?;
    ensure!(host.uninstall()?.code == 0);
    is_gone(&host)
}

fn read_only_bin() -> Result<()> {
    let host = Host::new("read-only")?;
    host.write_primary()?;
    ensure!(host.install(&[])?.code == 0);
    let binary = host.bin_dir.join("shunt");
    mounted(&host.bin_dir, MsFlags::MS_RDONLY, || {
        let left = host.uninstall()?;
        ensure!(left.code == 1, "{left:?}");
        let stays = left.json["stays"][0].as_str().unwrap_or_default();
        ensure!(stays.contains("/bin/shunt") && stays.contains("Read-only"), "{left:?}");
        ensure!(binary.exists() && !host.node.pins.exists() && super::naming(&host)?.is_empty());
        let again = host.install(&[])?;
        ensure!(again.code == 0, "the plugin is there: {again:?}");
        ensure!(host.uninstall()?.code == 1);
        Ok(())
    })?;
    ensure!(host.uninstall()?.code == 0);
    is_gone(&host)?;
    mounted(&host.bin_dir, MsFlags::MS_RDONLY, || {
        let refused = host.install(&[])?;
        let error = refused.json["error"].as_str().unwrap_or_default();
        ensure!(refused.code == 1 && error.contains("read-only"), "{refused:?}");
        ensure!(super::naming(&host)?.is_empty());
        Ok(())
    })?;
    ensure!(host.uninstall()?.code == 0);
    is_gone(&host)
}

/// There it is, and cannot be run.
fn noexec_bin() -> Result<()> {
    let host = Host::new("noexec")?;
    host.write_primary()?;
    mounted(&host.bin_dir, MsFlags::MS_NOEXEC, || {
        let refused = host.install(&[])?;
        ensure!(refused.code == 1 && super::naming(&host)?.is_empty(), "{refused:?}");
        let error = refused.json["error"].as_str().unwrap_or_default();
        ensure!(error.contains("mounted noexec"), "{refused:?}");
        Ok(())
    })?;
    ensure!(host.install(&[])?.code == 0);
    is_whole(&host)
}
