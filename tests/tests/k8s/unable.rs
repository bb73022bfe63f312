//! A node that cannot accelerate: the cluster is told once, with the reason, and nothing else is different.

use crate::{
    cluster::{Cluster, said},
    counters, is_as,
    manifest::Manifest,
    mesh::Mesh,
    node,
};
use anyhow::{Context as _, Result, bail, ensure};
use nix::mount::{MsFlags, mount, umount};
use serde_json::Value;
use std::{thread::sleep, time::Duration};

const OPERATE: &str = include_str!("../../../docs/operate.md");
const BTF: &str = "/sys/kernel/btf";
const REASON: &str = "/sys/kernel/btf/vmlinux: this kernel has no BTF";

pub fn test(cluster: &Cluster) -> Result<()> {
    let able = Manifest::new(cluster)?;
    let before = node()?;
    let was_told = events(&able)?.len();
    able.apply()?;
    ensure!(!of_the_cluster(cluster)?.contains("BTF"), "told of a node that can accelerate");
    ensure!(events(&able)?.len() == was_told, "told of a node that can accelerate");
    able.delete()?;

    let _hidden = NoBtf::new()?;
    // Containers have a /sys of their own.
    let manifest = Manifest::changed(cluster, |text| {
        let mounts = "volumeMounts: &places\n";
        let hidden = format!("            - {{name: no-btf, mountPath: {BTF}}}\n");
        let volumes = "      volumes:\n";
        let empty = "        - {name: no-btf, emptyDir: {}}\n";
        text.replace(mounts, &format!("{mounts}{hidden}"))
            .replace(volumes, &format!("{volumes}{empty}"))
    })?;
    manifest.apply()?;
    let told = events(&manifest)?;
    let [event] = &told[was_told..] else { bail!("not told once: {told:?}") };
    ensure!(event["involvedObject"]["kind"] == "Node", "{event}");
    ensure!(event["message"].as_str().is_some_and(|it| it.contains(REASON)), "{event}");
    let node_says = cluster.kubectl(&["describe", "node", "node"])?;
    ensure!(node_says.contains("CannotAccelerate"), "{node_says}");
    let table = of_the_cluster(cluster)?;
    let row = table.lines().find(|row| row.starts_with("node ")).context("no row")?;
    ensure!(row.contains(REASON), "{table}");

    // Its pods are as they would be.
    let mut mesh = Mesh::new(cluster)?;
    mesh.scale(2)?;
    let [a, b] = mesh.pods()?.try_into().ok().context("two pods")?;
    let talk = mesh.talk(&a, &b)?;
    sleep(Duration::from_secs(1));
    talk.end()?;
    ensure!(counters(&a)?.is_none(), "accelerated");
    // Nor does it hold up a new version.
    manifest.kubectl(&["set", "image", "ds/shunt", "install=shunt:new", "watch=shunt:new"])?;
    manifest.is_ready()?;
    ensure!(events(&manifest)?.len() == was_told + 2, "not once for each pod");

    manifest.delete()?;
    is_as(&before)?;
    cluster.has_not_failed()?;
    mesh.end()
}

/// Nothing is seen of the kernel's BTF on the node, until drop.
struct NoBtf;

impl NoBtf {
    fn new() -> Result<Self> {
        let tmpfs = Some("tmpfs");
        mount(tmpfs, BTF, tmpfs, MsFlags::empty(), None::<&str>).context(BTF)?;
        Ok(Self)
    }
}

impl Drop for NoBtf {
    fn drop(&mut self) {
        let _ = umount(BTF);
    }
}

/// The oldest first.
fn events(manifest: &Manifest) -> Result<Vec<Value>> {
    let ours = "--field-selector=reason=CannotAccelerate";
    let by_age = "--sort-by=.firstTimestamp";
    let told = manifest.kubectl(&["get", "events", ours, by_age, "--output=json"])?;
    let mut told: Value = serde_json::from_str(&told)?;
    serde_json::from_value(told["items"].take()).context("no items")
}

/// What the documentation says to call.
fn of_the_cluster(cluster: &Cluster) -> Result<String> {
    let mut blocks = OPERATE.split("```\n");
    let line = blocks.find(|block| block.contains("custom-columns")).context("no such line")?;
    said(cluster.client("bash").args(["-ec", line]))
}
