//! A pod of a DaemonSet that is gone ends only when another's has installed: the garbage collector
//! takes its time, and its account is gone too.

use crate::{cluster::Cluster, is_as, manifest::Manifest, mesh::Mesh, node, short};
use anyhow::{Context as _, Result};

pub fn test(cluster: &Cluster) -> Result<()> {
    let manifest = Manifest::new(cluster)?;
    let before = node()?;
    let mut mesh = Mesh::new(cluster)?;
    manifest.apply()?;
    let old = manifest.kubectl(&["get", "pods", "--output=name"])?;
    manifest.delete_without_pods()?;
    // Else the new DaemonSet would take it for its own.
    manifest.kubectl(&["label", old.trim(), "app.kubernetes.io/name-"])?;
    manifest.apply()?;
    manifest.kubectl(&["delete", old.trim()])?;
    manifest.is_ready()?;
    mesh.scale(2)?;
    let [adopted, added] = mesh.pods()?.try_into().ok().context("two pods")?;
    let talk = mesh.talk(&added, &adopted)?;
    talk.goes_on_until(|| Ok(short(&adopted)? > 1 << 20 && short(&added)? > 1 << 20))?;
    talk.end()?;
    manifest.delete()?;
    is_as(&before)?;
    cluster.has_not_failed()?;
    mesh.end()
}
