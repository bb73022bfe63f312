//! Nodes with cgroups of version 1 only: pods are known by their network namespaces.

use crate::{containerd::Containerd, host::Host, pod::Pod, podman};
use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use shim::layout::is_namespace;
use std::fs;
use tests::{cgroup, needs, trial};

pub fn tests() -> Vec<Trial> {
    let tests = [
        trial("bookworm::version_1::containerd", by_containerd),
        trial("bookworm::version_1::podman", by_podman),
    ];
    tests.map(|test| needs(test, is_there(), "no cgroups of version 1")).into()
}

/// Those that a runtime wants.
fn is_there() -> bool {
    let all = cgroup::hierarchies().unwrap_or_default();
    ["memory", "pids", "devices"].iter().all(|name| all.iter().any(|root| root.ends_with(name)))
}

/// Nobody there sees the hierarchy of version 2.
fn node() -> Result<Host> {
    let host = Host::new("bookworm")?;
    host.root.run(
        "findmnt --noheadings --list --types cgroup2 --output TARGET |
         while read -r at; do umount --lazy \"$at\"; done",
    )?;
    Ok(host)
}

fn by_containerd() -> Result<()> {
    let containerd = Containerd::on(node()?)?;
    containerd.told(pods_with_sidecars(&containerd))
}

fn pods_with_sidecars(containerd: &Containerd) -> Result<()> {
    let host = &containerd.host;
    fs::write(host.root.path("/srv/shunt/entry.json"), r#"{"excludedNamespaces": ["left"]}"#)?;
    let doctor = host.shuntctl("shuntctl doctor --verbose || :")?;
    ensure!(doctor.contains("version 1 only"), "{doctor}");
    let older = Pod::with_sidecar(containerd, "older")?;
    host.shuntctl("shuntctl install --entry entry.json")?;
    let adopted = host.shuntctl("shuntctl adopt")?;
    ensure!(host.datapath()?.pods()?.len() == 1, "{adopted}");
    older.delete()?;
    let (a, b) = (Pod::with_sidecar(containerd, "a")?, Pod::with_sidecar(containerd, "b")?);
    let left = Pod::with_sidecar_in(containerd, "left", "c")?;
    a.talk_to(&b)?.goes_on_to(&b)?;
    let known = host.datapath()?.pods()?;
    ensure!(known.len() == 2 && known.iter().all(|(id, _)| is_namespace(*id)), "{known:?}");
    ensure!(!left.is_accelerated()?, "in spite of its namespace");
    b.talk_to(&left)?.goes_on()?;
    [a, b, left].into_iter().try_for_each(Pod::delete)?;
    host.has_no_pods()?;
    host.uninstall()
}

fn by_podman() -> Result<()> {
    podman::pods_are_accelerated(&node()?).context("podman")
}
