//! What pods notice of the manifest applied, of another version, and of the manifest deleted: nothing.

use crate::{cluster::Cluster, is_as, links, manifest::Manifest, mesh::Mesh, node, short};
use anyhow::{Context as _, Result, ensure};

pub fn test(cluster: &Cluster) -> Result<()> {
    let manifest = Manifest::new(cluster)?;
    let before = node()?;
    let mut mesh = Mesh::new(cluster)?;

    // One pod was there before, the other comes after.
    manifest.apply()?;
    mesh.scale(2)?;
    let [adopted, added] = mesh.pods()?.try_into().ok().context("two pods")?;
    // All that answers is accepted by listeners that were there before.
    let talk = mesh.talk(&added, &adopted)?;
    talk.goes_on_until(|| Ok(short(&adopted)? > 1 << 20 && short(&added)? > 1 << 20))?;

    // An operator asks in the pod that is there.
    let told =
        manifest.kubectl(&["exec", "ds/shunt", "-c", "watch", "--", "/shuntctl", "status"])?;
    ensure!([&adopted, &added].iter().all(|pod| told.contains(&pod.name)), "{told}");

    // A new version, here the same by another name: the links stay, and so does what they carry.
    let links = self::links()?;
    manifest.kubectl(&["set", "image", "ds/shunt", "install=shunt:new", "watch=shunt:new"])?;
    manifest.is_ready()?;
    ensure!(self::links()? == links, "links have changed");
    let (a, b) = (short(&adopted)?, short(&added)?);
    talk.goes_on_until(|| Ok(short(&adopted)? > a + (1 << 20) && short(&added)? > b + (1 << 20)))?;

    // Of everything at once, its account too; then of the DaemonSet alone.
    manifest.delete()?;
    is_as(&before)?;
    manifest.apply()?;
    manifest.kubectl(&["delete", "ds/shunt"])?;
    manifest.has_no_pods()?;
    is_as(&before)?;
    talk.end()?;
    mesh.scale(3)?;
    cluster.has_not_failed()?;
    mesh.end()
}
