//! A process, as proc(5) has it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::layout::{MAX_PROGRAM, padded};

pub fn folder(pid: i32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// The comm of its first thread. All zeroes: it has ended.
pub fn name(pid: i32) -> [u8; MAX_PROGRAM] {
    let comm = fs::read(folder(pid).join("comm")).unwrap_or_default();
    padded(comm.trim_ascii_end()).unwrap_or_default()
}
