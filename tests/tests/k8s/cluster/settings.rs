//! What the parts of a cluster find on their node and read.

use super::{CONTAINERD, DIR, NODE, PORT, path, release::Release, said};
use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use serde_json::json;
use std::{
    fs::{self, Permissions},
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};
use tests::{cgroup, sandbox};

/// The first of the services' addresses is the API server's.
const API: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
const PODS: &str = "10.98.0.0/24";
/// capabilities(7), linux/capability.h
const CAP_SYS_RESOURCE: u32 = 24;
/// What a kubelet sets for the whole machine. It finds these as it wants them.
const TUNABLES: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// An address for the node, and what kube-proxy does for the one service that is used.
pub fn network() -> Result<()> {
    for args in [
        "link add node type bridge".to_owned(),
        format!("addr add {NODE}/24 dev node"),
        "link set node up".into(),
        "route add default dev node".into(),
    ] {
        said(Command::new("ip").args(args.split(' ')))?;
    }
    let rule =
        format!("-t nat -A OUTPUT -p tcp -d {API} --dport 443 -j REDIRECT --to-ports {PORT}");
    said(Command::new("iptables").args(rule.split(' '))).map(drop)
}

pub fn certificates() -> Result<()> {
    fs::write(path("names"), format!("subjectAltName=IP:{API},IP:{NODE}"))?;
    for args in [
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.crt",
        "req -newkey rsa:2048 -nodes -subj /CN=api -keyout api.key -out api.csr",
        "x509 -req -in api.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out api.crt",
        "genrsa -out account.key 2048",
    ] {
        said(Command::new("openssl").args(args.split(' ')).current_dir(DIR))?;
    }
    Ok(())
}

pub fn configurations(release: Release) -> Result<()> {
    fs::write(path("tokens"), "admin,admin,0,system:masters\n")?;
    let server = format!("https://{NODE}:{PORT}");
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cluster", "cluster": {
            "server": server, "certificate-authority": path("ca.crt"),
        }}],
        "users": [{"name": "admin", "user": {"token": "admin"}}],
        "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": "admin"}}],
        "current-context": "cluster",
    });
    fs::write(path("kubeconfig"), kubeconfig.to_string())?;

    // In every hierarchy, as the kubelet wants to see it in those that it uses.
    let own = sandbox::cgroup_parent()?;
    for root in cgroup::hierarchies()? {
        fs::create_dir_all(root.join(own.strip_prefix("/")?))?;
    }
    let any = "0%";
    let mut kubelet = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupRoot": own,
        "evictionHard": {"imagefs.available": any, "nodefs.available": any, "nodefs.inodesFree": any},
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "resolvConf": "",
    });
    release.complete(&mut kubelet);
    fs::write(path("kubelet.json"), kubelet.to_string())?;
    for (name, value) in TUNABLES {
        let file = path(&name.replace('/', "-"));
        fs::write(&file, value)?;
        let at = Path::new("/proc/sys").join(name);
        mount(Some(&file), &at, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| at.display().to_string())?;
    }

    // Of version 2, which containerd 2 reads too.
    let containerd = format!(
        r#"version = 2
root = "{DIR}/containerd"
[grpc]
address = "{CONTAINERD}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "pause:0"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{}"
"#,
        runc(release)?.display()
    );
    fs::write(path("containerd.toml"), containerd)?;
    // Its layers cannot lie on an overlay.
    fs::create_dir(path("containerd"))?;
    let tmpfs = Some("tmpfs");
    mount(tmpfs, &path("containerd"), tmpfs, MsFlags::empty(), None::<&str>)?;

    fs::create_dir_all("/opt/cni/bin")?;
    for plugin in ["bridge", "host-local", "loopback"] {
        fs::copy(Path::new("/usr/lib/cni").join(plugin), Path::new("/opt/cni/bin").join(plugin))?;
    }
    fs::create_dir_all("/etc/cni/net.d")?;
    let list = json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge",
            "bridge": "pods",
            "isGateway": true,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    });
    Ok(fs::write("/etc/cni/net.d/10-pods.conflist", format!("{list:#}\n"))?)
}

/// runc fails where a container is to have a capability that its own root lacks. Where a machine's
/// root has no SYS_RESOURCE, containers do without.
fn runc(release: Release) -> Result<PathBuf> {
    let status = fs::read_to_string("/proc/self/status")?;
    let bounds =
        status.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).context("CapBnd")?;
    let runc = release.usr().join("sbin/runc");
    if u64::from_str_radix(bounds, 16)? & 1 << CAP_SYS_RESOURCE != 0 {
        return Ok(runc);
    }
    let wrapper = format!(
        r#"#!/bin/bash
for arg; do
    [ "$before" = --bundle ] && jq '.process.capabilities |=
        with_entries(.value -= ["CAP_SYS_RESOURCE"])' "$arg/config.json" >"$arg/new" &&
        mv "$arg/new" "$arg/config.json"
    before=$arg
done
exec {} "$@"
"#,
        runc.display()
    );
    fs::write(path("runc"), wrapper)?;
    fs::set_permissions(path("runc"), Permissions::from_mode(0o755))?;
    Ok(path("runc"))
}
