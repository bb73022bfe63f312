//! Pods that are gone and whose programs `habits` still has. To find those, all of the map is read, so it is done
//! for several pods at once: each has a folder beside the pins until then.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use crate::layout::{PodId, name};

/// How many may wait. A pod has at most [`crate::layout::MAX_PROGRAMS`], so that this many take a small part of the map.
pub const MOST: usize = 8;

fn folder(pins: &Path, pod: PodId) -> PathBuf {
    pins.join(name::ENDED).join(pod.to_string())
}

/// # Errors
/// Of mkdir(2).
pub fn note(pins: &Path, pod: PodId) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder(pins, pod))
}

pub fn has(pins: &Path, pod: PodId) -> bool {
    folder(pins, pod).exists()
}

pub fn all(pins: &Path) -> BTreeSet<PodId> {
    let folders = fs::read_dir(pins.join(name::ENDED)).into_iter().flatten().flatten();
    folders.filter_map(|folder| folder.file_name().to_str()?.parse().ok()).collect()
}

/// # Errors
/// Of rmdir(2).
pub fn clear(pins: &Path, pods: &BTreeSet<PodId>) -> io::Result<()> {
    pods.iter().try_for_each(|pod| fs::remove_dir(folder(pins, *pod)))
}
