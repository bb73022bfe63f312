//! A process, as proc(5) has it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    layout::{MAX_PROGRAM, PodId, padded},
    namespace::Namespace,
};

pub fn folder(pid: i32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// The comm of its first thread. All zeroes: it has ended.
pub fn name(pid: i32) -> [u8; MAX_PROGRAM] {
    let comm = fs::read(folder(pid).join("comm")).unwrap_or_default();
    padded(comm.trim_ascii_end()).unwrap_or_default()
}

/// Those that are in a network namespace.
pub fn in_namespace(id: PodId) -> Vec<i32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    all.filter(|pid| Namespace::of(*pid).is_ok_and(|namespace| namespace.id == id)).collect()
}
