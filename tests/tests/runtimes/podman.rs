//! podman with CNI, which tells plugins neither a pod's uid nor its cgroup.

use crate::host::{Host, IMAGE};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use tests::{root::Root, sandbox};

const CONFIGURATION: &str = r#"[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin"]
"#;

/// They stay plain TCP, and shunt is in nobody's way.
pub fn pods_have_their_network() -> Result<()> {
    let host = Host::new("bookworm")?;
    let root = &host.root;
    fs::write(root.path("/etc/containers/containers.conf"), CONFIGURATION)?;
    host.install()?;
    podman(root, "load --input /srv/image.tar")?;
    start(root, "server", "exec /program serve")?;
    let ip = "inspect --format {{.NetworkSettings.Networks.pods.IPAddress}} server";
    let ip = podman(root, ip)?;
    // For a while.
    start(root, "client", &format!("/busybox sleep 3 | /program talk {}", ip.trim()))?;
    let (ended, rounds) = (podman(root, "wait client")?, podman(root, "logs client")?);
    ensure!(ended.trim() == "0" && rounds.trim().parse::<u32>()? > 0, "{ended}: {rounds}");

    let status = host.status()?;
    let refused = status["node"]["not_accelerated"]["no_cgroup"].as_u64();
    ensure!(refused.context("no counter")? == 2, "{status}");
    podman(root, "rm --force --time 0 server client")?;
    host.has_no_pods()
}

fn start(root: &Root, name: &str, command: &str) -> Result<()> {
    let cgroup = sandbox::cgroup_parent()?.display().to_string();
    let run = format!(
        "run --detach --name {name} --network pods --cgroup-parent {cgroup} --entrypoint '' \
         --volume /usr:/usr:ro --volume /usr/lib:/lib:ro --volume /usr/lib64:/lib64:ro \
         --volume /program:/program:ro {IMAGE} /busybox sh -c '{command}'"
    );
    podman(root, &run).map(drop)
}

fn podman(root: &Root, command: &str) -> Result<String> {
    root.run(&format!("podman --cgroup-manager cgroupfs --runtime runc {command}"))
}
