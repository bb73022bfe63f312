//! Which way the bytes went, by shunt's own maps.

use anyhow::{Context, Result, ensure};
use shim::{
    datapath::Datapath,
    layout::{Counters, name},
    pins,
};
use std::path::Path;
use tests::{bpftool, sidecars::Sidecars};

/// Read while the pods run.
pub struct Evidence {
    /// Pod's name → what it sent.
    pub pods: Vec<(String, Counters)>,
    /// What a person would type, and what it prints.
    pub dumps: Vec<(String, String)>,
}

/// # Errors
/// A map cannot be read, a pod is not in it, or one has not sent a byte the short way.
pub fn read(mesh: &Sidecars, pins: &Path) -> Result<Evidence> {
    let datapath = Datapath::open(pins)?.context("nothing is pinned")?;
    let known = datapath.pods()?;
    let mut pods = Vec::new();
    for pod in [&mesh.app, &mesh.load] {
        let entry = known.iter().find(|(_, entry)| entry.ipv4 == pod.ipv4.octets());
        let (_, entry) = entry.with_context(|| format!("pod {} is not accelerated", pod.name))?;
        ensure!(
            entry.counters.shunted.bytes > 0,
            "pod {} has not sent a byte the short way: {:?}",
            pod.name,
            entry.counters
        );
        pods.push((pod.name.clone(), entry.counters));
    }
    let dump = |map| {
        let pin = pins::folder(pins).join(map).display().to_string();
        let args = ["map", "dump", "pinned", &pin];
        Ok((format!("bpftool {}", args.join(" ")), bpftool::text(args)?))
    };
    let dumps = [name::PODS, name::POD_IPS].map(dump).into_iter().collect::<Result<_>>()?;
    Ok(Evidence { pods, dumps })
}
