//! A pod's network namespace: what the programs know it by where it has no cgroup of version 2 to itself.

use std::{
    fs::{self, File},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::Path,
};

use anyhow::{Context as _, ensure};
use nix::{
    fcntl::OFlag,
    sys::statfs::{NSFS_MAGIC, fstatfs},
};

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
        // Of a FIFO it would be waited for a writer.
        let nonblocking = OFlag::O_NONBLOCK.bits();
        let file = File::options().read(true).custom_flags(nonblocking).open(path);
        let file = file.with_context(named)?;
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

#[cfg(test)]
mod tests {
    use nix::{sys::stat::Mode, unistd::mkfifo};

    use super::*;

    #[test]
    fn what_is_none_is_refused_at_once() {
        let fifo = std::env::temp_dir().join(format!("shunt-fifo-{}", std::process::id()));
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let refused = [Path::new("/"), Path::new("/dev/null"), &fifo].map(Namespace::open);
        fs::remove_file(&fifo).unwrap();
        assert!(refused.iter().all(Result::is_err), "{refused:?}");
    }
}
