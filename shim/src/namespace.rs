//! A pod's network namespace: what the programs know it by where it has no cgroup of version 2 to itself.

use std::{
    fs::{self, File},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
};

use anyhow::{Context as _, ensure};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

use crate::layout::{PodId, is_namespace};

/// Held open.
#[derive(Debug)]
pub struct Namespace {
    pub id: PodId,
    file: File,
}

impl Namespace {
    /// # Errors
    /// It is none, or the node's own.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let named = || path.display().to_string();
        let file = File::open(path).with_context(named)?;
        let kind = fstatfs(&file).with_context(named)?.filesystem_type();
        let id = file.metadata().with_context(named)?.ino();
        let of_node = fs::metadata("/proc/1/ns/net").context("/proc/1/ns/net")?.ino();
        ensure!(id != of_node, "it is in the node's network");
        ensure!(kind == NSFS_MAGIC && is_namespace(id), "{} is no namespace", path.display());
        Ok(Self { id, file })
    }

    /// Of a process.
    ///
    /// # Errors
    /// It has ended, or as [`Namespace::open`].
    pub fn of(pid: i32) -> anyhow::Result<Self> {
        Self::open(Path::new(&format!("/proc/{pid}/ns/net")))
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
