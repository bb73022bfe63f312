//! Network namespaces that are kept by a mount, as runtimes keep them.

use anyhow::{Context as _, Result, anyhow};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use std::{
    fs::{self, File},
    io,
    path::Path,
    thread,
};

/// A new one, on that path.
///
/// # Errors
/// A file is there, or the kernel refuses.
pub fn create(path: &Path) -> Result<()> {
    File::create(path)?;
    let make = || -> Result<()> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        // Nobody else has these addresses: usable at once.
        fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0")?;
        let none = None::<&str>;
        Ok(mount(Some("/proc/thread-self/ns/net"), path, none, MsFlags::MS_BIND, none)?)
    };
    // A thread of its own, as it is left in that namespace. It ends before anything forks.
    let made = thread::scope(|scope| scope.spawn(make).join());
    made.map_err(|_| anyhow!("panicked"))?
        .with_context(|| format!("make network namespace {}", path.display()))
}

/// # Errors
/// Nothing is there.
pub fn remove(path: &Path) -> io::Result<()> {
    // Not mounted, if making it failed.
    let _ = umount2(path, MntFlags::MNT_DETACH);
    fs::remove_file(path)
}
