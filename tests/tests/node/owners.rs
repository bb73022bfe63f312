//! Folders and lists of another owner, as kubespray's user `kube`.

use super::{is_gone, is_whole, named, told::names_owner, with_capabilities};
use crate::install::host::Host;
use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
};

pub fn tests() -> Vec<Trial> {
    vec![named("foreign_folders", foreign_folders)]
}

const KUBE: u32 = 4711;

/// What a container of the manifest may, by its name.
fn capabilities(container: &str) -> Result<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/generic/shunt.yaml");
    let manifest = fs::read_to_string(file)?;
    let (_, of) = manifest.split_once(&format!("- name: {container}\n")).context("container")?;
    let (_, add) = of.split_once("add:\n").context("capabilities")?;
    let names = add.lines().map_while(|line| line.trim().strip_prefix("- "));
    let names = names.filter_map(|name| name.split_whitespace().next());
    Ok(names.collect::<Vec<_>>().join(",").to_lowercase())
}

fn foreign_folders() -> Result<()> {
    let host = Host::new("owners")?;
    host.write_primary()?;
    for (path, mode) in [(&host.net_dir, 0o755), (&host.bin_dir, 0o755), (&host.list(), 0o600)] {
        chown(path, Some(KUBE), Some(KUBE))?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    let is_theirs = || -> Result<()> {
        let list = fs::metadata(host.list())?;
        ensure!((list.uid(), list.gid(), list.mode() & 0o7777) == (KUBE, KUBE, 0o600));
        Ok(())
    };
    let [install, watch] = [capabilities("install")?, capabilities("watch")?];
    let installed = with_capabilities(&install, &host, "install", &[])?;
    ensure!(installed.code == 0, "{install}: {installed:?}");
    is_theirs()?;
    is_whole(&host)?;
    let removed = with_capabilities(&watch, &host, "uninstall", &["--settle=0s"])?;
    ensure!(removed.code == 0, "{watch}: {removed:?}");
    is_theirs()?;
    is_gone(&host)?;
    // Without, it is told whose it is and what would help.
    let without = |name: &str| -> String {
        install.split(',').filter(|it| *it != name).collect::<Vec<_>>().join(",")
    };
    names_owner(&host, &without("dac_override"), "install")?;
    is_theirs()?;
    let before = fs::read(host.list())?;
    chown(&host.net_dir, Some(0), Some(0))?;
    names_owner(&host, &without("chown"), "install")?;
    ensure!(fs::read(host.list())? == before);
    is_theirs()?;
    ensure!(host.uninstall()?.code == 0);
    is_gone(&host)
}
