//! podman with CNI, which tells plugins neither a pod's uid nor its cgroup.

use crate::host::{Host, IMAGE};
use anyhow::{Result, ensure};
use shim::layout::is_namespace;
use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};
use tests::{root::Root, sandbox, task::PATIENCE};

const CONFIGURATION: &str = r#"[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin"]
"#;

/// They are known by their network namespaces.
pub fn pods_are_accelerated(host: &Host) -> Result<()> {
    let root = &host.root;
    fs::write(root.path("/etc/containers/containers.conf"), CONFIGURATION)?;
    fs::write(root.path("/srv/shunt/entry.json"), r#"{"trustedPrograms": ["program"]}"#)?;
    host.shuntctl("shuntctl install --entry entry.json")?;
    podman(root, "load --input /srv/image.tar")?;
    start(root, "server", "exec /program serve")?;
    let ip = "inspect --format {{.NetworkSettings.Networks.pods.IPAddress}} server";
    let ip = podman(root, ip)?;
    // Until there is a file.
    let until = "until [ -e /end ]; do /busybox usleep 20000; done";
    start(root, "client", &format!("({until}) | /program talk {}", ip.trim()))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let known = host.datapath()?.pods()?;
        let takes_part = |(id, pod): &(_, shim::layout::Pod)| {
            is_namespace(*id) && pod.counters.shunted.bytes > 1 << 20
        };
        if known.len() == 2 && known.iter().all(takes_part) {
            break;
        }
        ensure!(Instant::now() < deadline, "{known:?}");
        sleep(Duration::from_millis(50));
    }
    podman(root, "exec client /busybox touch /end")?;
    let (ended, rounds) = (podman(root, "wait client")?, podman(root, "logs client")?);
    ensure!(ended.trim() == "0" && rounds.trim().parse::<u32>()? > 0, "{ended}: {rounds}");
    podman(root, "rm --force --time 0 server client")?;
    host.has_no_pods()?;
    outlives_shunt(host)
}

/// podman makes and deletes a pod with the list that it was made with.
fn outlives_shunt(host: &Host) -> Result<()> {
    let (root, plugin) = (&host.root, host.root.path("/opt/cni/bin/shunt"));
    start(root, "late", "exec /program serve")?;
    let told = host.shuntctl("shuntctl uninstall")?;
    ensure!(told.contains("is kept") && told.contains("late") && plugin.exists(), "{told}");
    podman(root, "restart --time 0 late")?;
    podman(root, "rm --force --time 0 late")?;
    // It ends with 0 also where a plugin is missing, and then leaves the address taken.
    let taken = root.run("ls /var/lib/cni/networks/pods /var/lib/cni/results")?;
    ensure!(!taken.contains("10.98."), "{taken}");
    let told = host.shuntctl("shuntctl uninstall")?;
    ensure!(told.contains("nothing of shunt is left") && !plugin.exists(), "{told}");
    Ok(())
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
