//! A Deployment whose pods have an Envoy as sidecar, with Istio's rules.

use crate::cluster::Cluster;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::{
    env,
    io::Read as _,
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use tests::{
    envoy,
    istio::{self, PROXY_UID},
    task::PATIENCE,
    traffic::PORT,
};

/// Nothing here speaks HTTP.
const NO_HTTP: &[u16] = &[1];

pub struct Mesh<'a>(&'a Cluster);

pub struct Pod {
    pub name: String,
    ip: String,
}

/// An application that talks to another pod's; killed on drop.
pub struct Talk(Child);

impl<'a> Mesh<'a> {
    /// With one pod.
    pub fn new(cluster: &'a Cluster) -> Result<Self> {
        cluster.apply(&json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "mesh"},
            "data": {
                "envoy.json": envoy::configuration(NO_HTTP).to_string(),
                "rules": istio::rules("127.0.0.1/32", "127.0.0.6/32"),
            },
        }))?;
        cluster.apply(&deployment()?)?;
        let mesh = Self(cluster);
        mesh.is_ready()?;
        Ok(mesh)
    }

    pub fn scale(&mut self, pods: usize) -> Result<()> {
        self.0.kubectl(&["scale", "deployment/mesh", &format!("--replicas={pods}")])?;
        self.is_ready()
    }

    /// All its pods can be deleted.
    pub fn end(self) -> Result<()> {
        self.0.kubectl(&["delete", "deployment/mesh", "configmap/mesh"])?;
        self.0.has_no_pods_in("default")
    }

    fn is_ready(&self) -> Result<()> {
        self.0.kubectl(&["rollout", "status", "deployment/mesh", "--timeout=120s"]).map(drop)
    }

    /// The oldest first.
    pub fn pods(&self) -> Result<Vec<Pod>> {
        let by_age = "--sort-by=.metadata.creationTimestamp";
        let told = self.0.kubectl(&["get", "pods", "-l", "app=mesh", by_age, "-o", "json"])?;
        let told: Value = serde_json::from_str(&told)?;
        let field = |value: &Value| value.as_str().map(str::to_owned).context("no name or address");
        let pods = told["items"].as_array().context("no items")?.iter();
        pods.map(|pod| {
            Ok(Pod { name: field(&pod["metadata"]["name"])?, ip: field(&pod["status"]["podIP"])? })
        })
        .collect()
    }

    pub fn talk(&self, from: &Pod, to: &Pod) -> Result<Talk> {
        let args = ["exec", "-i", &from.name, "-c", "app", "--", "/program", "talk", &to.ip];
        let mut kubectl = self.0.command(&args);
        kubectl.stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Talk(kubectl.spawn()?))
    }
}

impl Talk {
    pub fn goes_on_until(&self, holds: impl Fn() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !holds()? {
            ensure!(Instant::now() < deadline, "the bytes do not take the short way");
            sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Fails if one byte of it was wrong or late.
    pub fn end(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        let status = self.0.wait()?;
        let mut told = String::new();
        self.0.stdout.take().context("no stdout")?.read_to_string(&mut told)?;
        ensure!(status.success(), "the application failed: {told}");
        ensure!(told.trim().parse::<u64>()? > 0, "it did nothing: {told}");
        Ok(())
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Its containers are of an image with nothing that they need, and find this machine's programs and
/// libraries where they are.
fn deployment() -> Result<Value> {
    let program = env::current_exe()?;
    let envoy = env::var("ENVOY").context("ENVOY is not set: make test-k8s sets it")?;
    let host = |name: &str, path: &str| json!({"name": name, "hostPath": {"path": path}});
    let seen = |name: &str, at: &str| json!({"name": name, "mountPath": at, "readOnly": true});
    let mounts = json!([
        seen("usr", "/usr"),
        seen("lib", "/lib"),
        seen("lib64", "/lib64"),
        seen("program", "/program"),
        seen("envoy", "/envoy"),
        seen("config", "/config"),
    ]);
    let container = |name: &str, command: Value, security: Value| {
        json!({
            "name": name,
            "image": "shunt:0.2.0",
            "command": command,
            "securityContext": security,
            "volumeMounts": mounts,
        })
    };
    let rules = json!(["/usr/sbin/xtables-nft-multi", "iptables-restore", "/config/rules"]);
    let envoy_command = json!([
        "/envoy",
        "--config-path",
        "/config/envoy.json",
        "--concurrency",
        "1",
        "--disable-hot-restart"
    ]);
    let mut sidecar = container("envoy", envoy_command, json!({"runAsUser": PROXY_UID}));
    // It is captured as all else.
    sidecar["readinessProbe"] = json!({"tcpSocket": {"port": PORT}, "periodSeconds": 1});
    Ok(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "mesh"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "mesh"}},
            "template": {
                "metadata": {
                    "labels": {"app": "mesh"},
                    "annotations": {"sidecar.istio.io/status": "{}"},
                },
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "automountServiceAccountToken": false,
                    "initContainers": [
                        container("rules", rules, json!({"capabilities": {"add": ["NET_ADMIN"]}})),
                    ],
                    "containers": [
                        container("app", json!(["/program", "serve"]), json!({"runAsUser": 1000})),
                        sidecar,
                    ],
                    "volumes": [
                        host("usr", "/usr"),
                        host("lib", "/usr/lib"),
                        host("lib64", "/usr/lib64"),
                        host("program", program.to_str().context("path")?),
                        host("envoy", &envoy),
                        {"name": "config", "configMap": {"name": "mesh"}},
                    ],
                },
            },
        },
    }))
}
