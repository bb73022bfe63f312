//! A pod by CRI, as a kubelet makes it: an application, and Envoy as its sidecar with Istio's rules.

use crate::{containerd::Containerd, host::IMAGE};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};
use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};
use tests::{cgroup, istio::PROXY_UID, sandbox, task::PATIENCE};

/// Pods made so far, for uids.
static PODS: AtomicU32 = AtomicU32::new(0);
/// An ordinary user, other than the sidecar's.
const USER: u32 = 1000;
/// Not by connections: they would be counted.
const LISTENS: &str = "for port in 15001 15006 8080; do
    until /busybox netstat -ltn | /busybox grep -q :$port; do /busybox usleep 20000; done
done";
const RUNNING: &str = "CONTAINER_RUNNING 0";
const DONE: &str = "CONTAINER_EXITED 0";

pub struct Pod<'c> {
    containerd: &'c Containerd,
    name: String,
    ip: String,
    id: String,
    config: Value,
    cgroups: Vec<PathBuf>,
}

/// An application that talks to another pod's for ever.
pub struct Talk<'p> {
    pod: &'p Pod<'p>,
    container: String,
}

impl<'c> Pod<'c> {
    /// Its network and what holds it; no container yet.
    ///
    /// # Errors
    /// What the runtime says.
    pub fn new(
        containerd: &'c Containerd,
        name: &str,
        annotations: &[(&str, &str)],
    ) -> Result<Self> {
        Self::in_namespace(containerd, "default", name, annotations)
    }

    /// # Errors
    /// As [`Pod::new`].
    pub fn in_namespace(
        containerd: &'c Containerd,
        namespace: &str,
        name: &str,
        annotations: &[(&str, &str)],
    ) -> Result<Self> {
        let number = PODS.fetch_add(1, Ordering::Relaxed);
        let uid = format!("5c0ffee0-0000-4000-9000-{number:012x}");
        let cgroup = sandbox::cgroup_parent()?.join(format!("kubepods/burstable/pod{uid}"));
        let below = cgroup.strip_prefix("/")?;
        let cgroups: Vec<_> =
            cgroup::hierarchies()?.into_iter().map(|root| root.join(below)).collect();
        cgroups.iter().try_for_each(fs::create_dir_all)?;
        let annotations: Map<_, _> =
            annotations.iter().map(|&(key, value)| (key.into(), value.into())).collect();
        let config = json!({
            "metadata": {"name": name, "namespace": namespace, "uid": uid},
            "annotations": annotations,
            "log_directory": format!("/srv/log/{name}"),
            "linux": {"cgroup_parent": cgroup},
        });
        containerd.knows_list()?;
        let made = containerd.cri.call("RunPodSandbox", json!({"config": config}))?;
        let id = made["pod_sandbox_id"].as_str().context("no id")?.to_owned();
        let told = containerd.cri.call("PodSandboxStatus", json!({"pod_sandbox_id": id}))?;
        let ip = told["status"]["network"]["ip"].as_str().context("no address")?.to_owned();
        Ok(Pod { containerd, name: name.into(), ip, id, config, cgroups })
    }

    /// With its containers; they listen.
    ///
    /// # Errors
    /// As [`Pod::new`], or one does not do what it should.
    pub fn with_sidecar(containerd: &'c Containerd, name: &str) -> Result<Self> {
        Self::with_sidecar_in(containerd, "default", name)
    }

    /// # Errors
    /// As [`Pod::with_sidecar`].
    pub fn with_sidecar_in(
        containerd: &'c Containerd,
        namespace: &str,
        name: &str,
    ) -> Result<Self> {
        let captured = [("sidecar.istio.io/status", "{}")];
        let pod = Self::in_namespace(containerd, namespace, name, &captured)?;
        let user = |uid: u32| json!({"run_as_user": {"value": uid}});
        let rules = pod.start(
            "rules",
            "exec /usr/sbin/xtables-nft-multi iptables-restore /srv/rules",
            json!({"capabilities": {"add_capabilities": ["NET_ADMIN"]}}),
        )?;
        let deadline = Instant::now() + PATIENCE;
        while pod.state(&rules)? != DONE {
            ensure!(Instant::now() < deadline, "the rules: {}", pod.state(&rules)?);
            sleep(Duration::from_millis(20));
        }
        pod.start(
            "sidecar",
            "exec /envoy --config-path /srv/envoy.json --concurrency 1 --disable-hot-restart \
             --log-level warning",
            user(PROXY_UID),
        )?;
        let app = pod.start("app", "exec /program serve", user(USER))?;
        let listens = ["/busybox", "timeout", "30", "/busybox", "sh", "-c", LISTENS];
        let listens = json!({"container_id": app, "cmd": listens});
        let listens = containerd.cri.call("ExecSync", listens)?;
        ensure!(listens.get("exit_code").is_none(), "{name} does not listen: {listens}");
        Ok(pod)
    }

    /// # Errors
    /// What the runtime says.
    pub fn talk_to(&self, other: &Pod) -> Result<Talk<'_>> {
        // It ends with its input.
        let talk = format!("/busybox sleep infinity | /program talk {}", other.ip);
        let container = self.start("talk", &talk, json!({"run_as_user": {"value": USER}}))?;
        Ok(Talk { pod: self, container })
    }

    /// Bytes that took the short way from its sockets.
    ///
    /// # Errors
    /// It is not accelerated.
    pub fn shunted(&self) -> Result<u64> {
        let status = self.status()?.with_context(|| format!("{} is not accelerated", self.name))?;
        status["counters"]["shunted"]["bytes"].as_u64().context("no counter")
    }

    /// # Errors
    /// shuntctl does not tell.
    pub fn is_accelerated(&self) -> Result<bool> {
        Ok(self.status()?.is_some())
    }

    /// As when it is deleted in Kubernetes.
    ///
    /// # Errors
    /// What the runtime says.
    pub fn delete(self) -> Result<()> {
        for method in ["StopPodSandbox", "RemovePodSandbox"] {
            self.containerd.cri.call(method, json!({"pod_sandbox_id": self.id}))?;
        }
        self.cgroups.iter().try_for_each(|path| cgroup::remove(path))
    }

    /// What `shuntctl status` tells of it.
    fn status(&self) -> Result<Option<Value>> {
        let mut told = self.containerd.host.status()?;
        let namespace = self.config["metadata"]["namespace"].as_str().unwrap_or_default();
        let name = format!("{namespace}/{}", self.name);
        let mut pods = told["pods"].as_array_mut().context("pods")?.drain(..);
        Ok(pods.find(|pod| pod["name"] == *name))
    }

    /// The container's id.
    fn start(&self, name: &str, command: &str, security: Value) -> Result<String> {
        let node = ["/usr:/usr", "/usr/lib:/lib", "/usr/lib64:/lib64"].into_iter();
        let node = node.chain(["/srv:/srv", "/envoy:/envoy", "/program:/program"]);
        let mounts = node
            .filter_map(|mount| mount.split_once(':'))
            .map(|(from, to)| json!({"host_path": from, "container_path": to, "readonly": true}));
        let config = json!({
            "metadata": {"name": name},
            "image": {"image": IMAGE},
            "command": ["/busybox", "sh", "-c", command],
            "log_path": format!("{name}.log"),
            "mounts": mounts.collect::<Vec<_>>(),
            "linux": {"security_context": security},
        });
        let Pod { containerd: Containerd { cri, .. }, id, config: pod, .. } = self;
        let create = json!({"pod_sandbox_id": id, "sandbox_config": pod, "config": config});
        let created = cri.call("CreateContainer", create)?;
        let container = created["container_id"].as_str().context("no id")?;
        cri.call("StartContainer", json!({"container_id": container}))?;
        Ok(container.to_owned())
    }

    /// And, where it has ended, with what.
    fn state(&self, container: &str) -> Result<String> {
        let asked = json!({"container_id": container});
        let told = self.containerd.cri.call("ContainerStatus", asked)?;
        let (state, code) = (&told["status"]["state"], &told["status"]["exit_code"]);
        Ok(format!("{} {}", state.as_str().unwrap_or_default(), code.as_i64().unwrap_or(0)))
    }
}

impl Talk<'_> {
    /// Not one byte was wrong or late up to now.
    ///
    /// # Errors
    /// The application ended.
    pub fn goes_on(&self) -> Result<()> {
        let state = self.pod.state(&self.container)?;
        ensure!(state == RUNNING, "the application: {state}");
        Ok(())
    }

    /// Until so much more took the short way, from either pod, and not one byte was wrong or late.
    ///
    /// # Errors
    /// It does not, or the application ended.
    pub fn goes_on_to(&self, other: &Pod) -> Result<()> {
        let (one, two) = (self.pod.shunted()?, other.shunted()?);
        let deadline = Instant::now() + PATIENCE;
        while self.pod.shunted()? < one + (1 << 20) || other.shunted()? < two + (1 << 20) {
            ensure!(Instant::now() < deadline, "the bytes do not take the short way");
            sleep(Duration::from_millis(50));
        }
        self.goes_on()
    }
}
