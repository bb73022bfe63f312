//! The folders that shunt writes to are another user's, as kubespray's are `kube`'s.

use crate::{cluster::Cluster, is_as, manifest::Manifest, mesh::Mesh, node, short};
use anyhow::{Context as _, Result, ensure};
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, chown},
    path::PathBuf,
};

const KUBE: u32 = 4711;
const FOLDERS: [&str; 2] = ["/etc/cni/net.d", "/opt/cni/bin"];

pub fn test(cluster: &Cluster) -> Result<()> {
    let manifest = Manifest::new(cluster)?;
    let theirs = all()?;
    give(&theirs, KUBE)?;
    let before = node()?;
    let mut mesh = Mesh::new(cluster)?;

    manifest.apply()?;
    for path in &theirs {
        let found = fs::metadata(path)?;
        ensure!((found.uid(), found.gid()) == (KUBE, KUBE), "{} has changed", path.display());
    }
    mesh.scale(2)?;
    let [adopted, added] = mesh.pods()?.try_into().ok().context("two pods")?;
    let talk = mesh.talk(&added, &adopted)?;
    talk.goes_on_until(|| Ok(short(&adopted)? > 1 << 20 && short(&added)? > 1 << 20))?;

    manifest.delete()?;
    is_as(&before)?;
    talk.end()?;
    mesh.scale(3)?;
    cluster.has_not_failed()?;
    mesh.end()?;
    give(&theirs, 0)
}

/// These folders and what lies there.
fn all() -> Result<Vec<PathBuf>> {
    let mut all = FOLDERS.map(PathBuf::from).to_vec();
    for folder in FOLDERS {
        for entry in fs::read_dir(folder)? {
            all.push(entry?.path());
        }
    }
    Ok(all)
}

fn give(paths: &[PathBuf], to: u32) -> Result<()> {
    let mut paths = paths.iter();
    paths.try_for_each(|path| chown(path, Some(to), Some(to)).with_context(|| format!("{path:?}")))
}
