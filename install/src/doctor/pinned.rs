//! What is pinned on this node, and who holds the lock.

use std::{path::Path, time::Duration};

use shim::{
    datapath::Datapath,
    drain,
    layout::{VERSION, Watch},
    lock::Lock,
    pins,
};

use super::Finding;
use crate::width::count;

pub fn bpffs(pins: &Path) -> Finding {
    if pins::is_on_bpffs(pins) {
        return Finding::ok("bpffs", format!("{} is on one", pins.display()));
    }
    Finding::no(
        "bpffs",
        format!("{} is not on a bpffs", pins.display()),
        "mount -t bpf bpf /sys/fs/bpf, or name another folder with --pin-path",
    )
}

pub fn pins(pins: &Path) -> Finding {
    let others = pins::folders(pins).into_iter().filter(|folder| !folder.ends_with(VERSION));
    let others: Vec<_> = others.map(|folder| folder.display().to_string()).collect();
    if !others.is_empty() {
        let found = format!("{} are of another layout", others.join(", "));
        return Finding::limited("pins", found, "call `shuntctl upgrade`");
    }
    match Datapath::open(pins) {
        Ok(None) => {
            Finding::ok("pins", "nothing is pinned; `shuntctl install` does that, or the first pod")
        }
        Ok(Some(datapath)) if drain::is_draining(&pins::folder(pins)).unwrap_or(false) => {
            let found = format!("{}, drained: no connection is accelerated", pods(&datapath));
            Finding::limited("pins", found, "call `shuntctl drain --resume`")
        }
        Ok(Some(datapath)) => Finding::ok("pins", format!("layout {VERSION}, {}", pods(&datapath))),
        Err(why) => {
            let todo = "call `shuntctl drain`, and remove the folder";
            Finding::no("pins", why.to_string(), todo)
        }
    }
}

/// How the programs that are loaded watch what programs do, if that was asked for.
pub fn watch(pins: &Path) -> Option<Watch> {
    let node = Datapath::open(pins).ok()??.node().ok()?;
    (node.watch == Watch::Syscalls as u64).then_some(Watch::Syscalls)
}

fn pods(datapath: &Datapath) -> String {
    count(datapath.pods().map_or(0, |pods| pods.len() as u64), "pod")
}

pub fn lock(file: &Path) -> Finding {
    if file.exists() && Lock::take(file, Duration::ZERO).is_err() {
        let found = format!("{} is held", file.display());
        return Finding::limited("lock", found, "if it stays so: /proc/locks tells by whom");
    }
    Finding::ok("lock", "free")
}
