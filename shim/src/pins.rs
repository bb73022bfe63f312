//! The pin folder: one folder for each layout, so that versions of shunt with different ones live side by side.

use std::{
    fs,
    io::{self, ErrorKind},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::{
    bpf,
    layout::{PodId, VERSION, name},
};

/// Whether a folder is on a bpffs, or would be if it were made.
pub fn is_on_bpffs(folder: &Path) -> bool {
    let there = folder.ancestors().find(|dir| dir.exists());
    let fs = there.and_then(|dir| statfs(dir).ok());
    fs.is_some_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC)
}

/// The folder of this layout.
pub fn folder(pins: &Path) -> PathBuf {
    pins.join(VERSION)
}

/// The folders of all layouts that anything is pinned of; this one's may be among them. What else is there is
/// another's.
pub fn folders(pins: &Path) -> Vec<PathBuf> {
    if !is_on_bpffs(pins) {
        return Vec::new();
    }
    let is_layout =
        |name: &str| name.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok());
    let entries = fs::read_dir(pins).into_iter().flatten().flatten();
    let layouts = entries.filter(|entry| {
        entry.file_type().is_ok_and(|kind| kind.is_dir())
            && entry.file_name().to_str().is_some_and(is_layout)
    });
    layouts.map(|entry| entry.path()).collect()
}

/// Removes what is pinned of all layouts, and their folder where nothing else is in it.
pub fn remove(pins: &Path) -> io::Result<()> {
    if !is_on_bpffs(pins) {
        return Ok(());
    }
    folders(pins).iter().try_for_each(fs::remove_dir_all)?;
    match fs::remove_dir(pins) {
        Err(error)
            if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::ResourceBusy) =>
        {
            Ok(())
        }
        removed => removed,
    }
}

/// The pods that are attached with what is pinned in a layout's folder.
pub fn attached(folder: &Path) -> Vec<PodId> {
    let links = fs::read_dir(folder.join(name::LINKS)).into_iter().flatten().flatten();
    let ids = links.filter_map(|link| link.file_name().to_str()?.parse().ok());
    ids.filter(|pod| is_attached(folder, *pod).unwrap_or(true)).collect()
}

/// Whether programs run for all sockets of the node, as some pods are known by their network namespaces.
pub fn runs_for_all(pins: &Path) -> bool {
    folder(pins).join(name::LINKS).join(name::ALL).exists()
}

/// Whether the pod's link is pinned, and its cgroup or network namespace still exists.
pub(crate) fn is_attached(folder: &Path, pod: PodId) -> anyhow::Result<bool> {
    match bpf::open_pin(&folder.join(name::LINKS).join(pod.to_string())) {
        Ok(link) => Ok(bpf::target_of_link(link.as_fd())? == pod),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).context("the pod's link"),
    }
}
