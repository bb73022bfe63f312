//! A root file system over this machine's: what is written there goes with the sandbox.

use anyhow::{Context, Result};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::{chdir, pivot_root},
};
use std::{fs, path::Path};

/// What is seen there as it is outside.
const SHARED: [&str; 3] = ["dev", "proc", "sys"];

/// Called inside a [`crate::sandbox`]: from here on, everything but /dev, /proc and /sys is a layer
/// in memory over what this machine has, and /run is empty. Mounts propagate, as where systemd
/// runs. It is a root that runc can leave, which a chroot(2) is not.
///
/// # Errors
/// The kernel refuses a mount.
pub fn enter() -> Result<()> {
    let none = None::<&str>;
    let mount_at = |kind, at: &Path, options: Option<&str>| {
        fs::create_dir_all(at)?;
        mount(Some(kind), at, Some(kind), MsFlags::empty(), options)
            .with_context(|| format!("mount {kind} at {}", at.display()))
    };
    let base = Path::new("/run/root");
    mount_at("tmpfs", base, Some("mode=755"))?;
    let [upper, work, root] = ["upper", "work", "root"].map(|name| base.join(name));
    fs::create_dir(&upper)?;
    fs::create_dir(&work)?;
    let layers = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
    mount_at("overlay", &root, Some(&layers))?;
    for name in SHARED {
        let (from, to) = (Path::new("/").join(name), root.join(name));
        mount(Some(&from), &to, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
            .with_context(|| format!("bind {}", from.display()))?;
    }
    mount_at("tmpfs", &root.join("run"), Some("mode=755"))?;
    mount_at("tmpfs", &root.join("tmp"), Some("mode=1777"))?;
    chdir(&root)?;
    // The old one lies over the new: pivot_root(2), "Notes".
    pivot_root(".", ".").context("pivot_root")?;
    umount2(".", MntFlags::MNT_DETACH).context("leave the old root")?;
    chdir("/")?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SHARED, none).context("share mounts")
}
