//! A process, as proc(5) has it.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::layout::{MAX_PROGRAM, PodId, padded};

pub fn folder(pid: i32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// The comm of its first thread. All zeroes: it has ended.
pub fn name(pid: i32) -> [u8; MAX_PROGRAM] {
    let comm = fs::read(folder(pid).join("comm")).unwrap_or_default();
    padded(comm.trim_ascii_end()).unwrap_or_default()
}

/// Those of that name, with the number of the network namespace that each is in.
pub fn named(wanted: [u8; MAX_PROGRAM]) -> Vec<(PodId, i32)> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let named = all.filter(|pid| name(*pid) == wanted);
    named
        .filter_map(|pid| Some((fs::metadata(folder(pid).join("ns/net")).ok()?.ino(), pid)))
        .collect()
}
