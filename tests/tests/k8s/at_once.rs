//! The manifest deleted and applied at once, while pods talk, are made and are deleted.

use crate::{cluster::Cluster, is_as, manifest::Manifest, mesh::Mesh, node, short};
use anyhow::{Context as _, Result};

const ROUNDS: usize = 10;

pub fn test(cluster: &Cluster) -> Result<()> {
    let manifest = Manifest::new(cluster)?;
    let before = node()?;
    let mut mesh = Mesh::new(cluster)?;
    mesh.scale(2)?;
    let [a, b] = mesh.pods()?.try_into().ok().context("two pods")?;
    manifest.apply()?;
    let talk = mesh.talk(&a, &b)?;
    for round in 0..ROUNDS {
        let mut commands = ["delete", "apply"];
        commands.rotate_left(round % 2);
        let both = commands.map(|command| manifest.begin(command));
        mesh.scale(3)?;
        mesh.scale(2)?;
        for command in both {
            // Each may find that the other was there first.
            command?.wait()?;
        }
        let told = || format!("round {round}");
        manifest.apply().with_context(told)?;
        let (was_a, was_b) = (short(&a)?, short(&b)?);
        talk.goes_on_until(|| Ok(short(&a)? > was_a + (1 << 20) && short(&b)? > was_b + (1 << 20)))
            .with_context(told)?;
        cluster.has_not_failed().with_context(told)?;
    }
    manifest.delete()?;
    is_as(&before)?;
    talk.end()?;
    mesh.scale(3)?;
    cluster.has_not_failed()?;
    mesh.end()
}
