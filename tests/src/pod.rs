//! A pod: a network namespace, a cgroup, and addresses from a real CNI chain.

use crate::{
    cgroup,
    cni::{self, Call, Chain},
    istio, netns,
    node::Node,
    task::{PATIENCE, Place, Process, Task},
};
use anyhow::{Context, Result};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use shim::{cgroup::Cgroup, layout::PodId, namespace::Namespace};
use std::{
    collections::BTreeMap,
    env, fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// Pods made so far, for container IDs and uids.
static PODS: AtomicU32 = AtomicU32::new(0);

/// How the runtime tells shunt the pod's cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupBy {
    /// `runtimeConfig.cgroupPath`, as containerd 1.7 and later.
    Path,
    /// `K8S_POD_UID` in CNI_ARGS, as older runtimes.
    Uid,
    /// Not at all.
    Nothing,
}

/// What is to be known of a pod before it is made.
#[derive(Clone, Debug)]
pub struct PodSpec {
    pub name: String,
    pub namespace: String,
    pub annotations: BTreeMap<String, String>,
    /// shunt is in the chain.
    pub shunt: bool,
    /// Keys for shunt's conf beside those that [`Node::chain`] sets.
    pub conf: Map<String, Value>,
    /// `cniVersion` of the conflist.
    pub cni_version: String,
    pub cgroup_by: CgroupBy,
    /// What the runtime knows besides, by capability.
    pub runtime_config: Map<String, Value>,
    /// Has [`istio::redirect`]'s rules.
    pub redirect: bool,
    /// Made with this instead of the node's own chain.
    pub chain: Option<Chain>,
}

impl PodSpec {
    /// A pod with shunt in its chain, cgroupPath, CNI 1.0.0, without annotations and redirection.
    pub fn new(name: &str) -> PodSpec {
        PodSpec {
            name: name.into(),
            namespace: "default".into(),
            annotations: BTreeMap::new(),
            shunt: true,
            conf: Map::new(),
            cni_version: "1.0.0".into(),
            cgroup_by: CgroupBy::Path,
            runtime_config: Map::new(),
            redirect: false,
            chain: None,
        }
    }

    /// Its runtime names neither its cgroup nor its uid, so that shunt knows it by its network namespace.
    pub fn by_namespace(mut self, node: &Node) -> PodSpec {
        self.cgroup_by = CgroupBy::Nothing;
        // Other nodes' sockets are none of this one's.
        self.conf.insert("cgroupRoot".into(), json!(node.cgroup));
        self
    }

    /// One annotation more.
    pub fn annotate(mut self, key: &str, value: &str) -> PodSpec {
        self.annotations.insert(key.into(), value.into());
        self
    }
}

/// A running pod. On drop, also by panic: its processes are killed, the chain's DEL is called, its
/// namespace and cgroup are removed.
pub struct Pod {
    pub name: String,
    pub container_id: String,
    /// metadata.uid
    pub uid: String,
    pub ipv4: Ipv4Addr,
    pub ipv6: Ipv6Addr,
    /// The pod's cgroup, an absolute path. Its processes are in its containers' below it.
    pub cgroup: PathBuf,
    /// Path of its network namespace.
    pub netns: PathBuf,
    /// The conflist it was made with, and what the runtime said and got: to call verbs again.
    pub chain: Chain,
    pub call: Call,
    pub result: Value,
}

impl Pod {
    /// Makes the cgroup, as a kubelet does, then the namespace, then calls ADD through the chain.
    ///
    /// # Errors
    /// A plugin's [`cni::Failure`] (by downcast), or what the kernel refused.
    pub fn new(node: &Node, spec: PodSpec) -> Result<Pod> {
        // For a run of all tests, see CONTRIBUTING.md.
        let spec = match env::var_os("SHUNT_TEST_BY_NAMESPACE") {
            Some(_) => spec.by_namespace(node),
            None => spec,
        };
        let number = PODS.fetch_add(1, Ordering::Relaxed);
        let uid = format!("5c0ffee0-0000-4000-8000-{number:012x}");
        let container_id = format!("{number:064x}");
        let cgroup = node.cgroup.join(format!("kubepods/burstable/pod{uid}"));
        let netns = node.dir.join(format!("netns-{number}"));

        let mut runtime_config = spec.runtime_config;
        if !spec.annotations.is_empty() {
            runtime_config
                .insert("io.kubernetes.cri.pod-annotations".into(), json!(spec.annotations));
        }
        let mut args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={container_id}",
            spec.namespace, spec.name
        );
        match spec.cgroup_by {
            CgroupBy::Path => {
                let path = Path::new("/").join(cgroup.strip_prefix(shim::cgroup::root()?)?);
                runtime_config.insert("cgroupPath".into(), json!(path));
            }
            CgroupBy::Uid => args += &format!(";K8S_POD_UID={uid}"),
            CgroupBy::Nothing => {}
        }
        let mut pod = Pod {
            name: spec.name,
            uid,
            ipv4: Ipv4Addr::UNSPECIFIED,
            ipv6: Ipv6Addr::UNSPECIFIED,
            chain: spec
                .chain
                .unwrap_or_else(|| node.chain(spec.shunt, &spec.cni_version, &spec.conf)),
            call: Call {
                container_id: container_id.clone(),
                netns: netns.display().to_string(),
                ifname: "eth0".into(),
                args,
                runtime_config,
            },
            container_id,
            cgroup,
            netns,
            result: Value::Null,
        };
        // From here on, drop cleans up.
        fs::create_dir_all(pod.container(&pod.container_id))
            .with_context(|| format!("create {}", pod.cgroup.display()))?;
        netns::create(&pod.netns)?;
        pod.loopback()?;
        pod.result = pod.chain.add(&pod.call)?;
        for ip in cni::ips(&pod.result)? {
            match ip {
                IpAddr::V4(ip) => pod.ipv4 = ip,
                IpAddr::V6(ip) => pod.ipv6 = ip,
            }
        }
        if spec.redirect {
            istio::redirect(&pod)?;
        }
        Ok(pod)
    }

    /// Runs code in the pod as root, in a process of its own (a fork: it may borrow all it sees,
    /// and changes nothing for the caller).
    ///
    /// # Errors
    /// The kernel refused to fork.
    pub fn spawn<T, F>(&self, f: F) -> Result<Task<T>>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce() -> Result<T>,
    {
        self.spawn_as(0, f)
    }

    /// [`Pod::spawn`] as that user.
    ///
    /// # Errors
    /// As [`Pod::spawn`].
    pub fn spawn_as<T, F>(&self, uid: u32, f: F) -> Result<Task<T>>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce() -> Result<T>,
    {
        self.place(uid)?.spawn(f)
    }

    /// Runs code in the pod and waits for it, for at most [`PATIENCE`].
    ///
    /// # Errors
    /// As [`Task::join`].
    pub fn run<T, F>(&self, f: F) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce() -> Result<T>,
    {
        self.spawn(f)?.join_within(PATIENCE)
    }

    /// Starts a program in the pod as that user.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, uid: u32, command: &mut Command) -> Result<Process> {
        self.place(uid)?.start(command)
    }

    /// [`Pod::start`] in that [`Pod::container`], which is made if it is not there.
    ///
    /// # Errors
    /// As [`Pod::start`], or of making the cgroup.
    pub fn start_in(&self, name: &str, uid: u32, command: &mut Command) -> Result<Process> {
        let cgroup = self.container(name);
        fs::create_dir_all(&cgroup).with_context(|| format!("create {}", cgroup.display()))?;
        Place::new(&cgroup, &self.netns, uid)?.start(command)
    }

    /// Moves the calling process into the pod: for a [`Task`] that holds sockets of several.
    ///
    /// # Errors
    /// The pod is gone.
    pub fn enter(&self) -> Result<()> {
        Ok(self.place(0)?.enter()?)
    }

    /// What shunt knows it by.
    ///
    /// # Errors
    /// It is gone.
    pub fn id(&self) -> Result<PodId> {
        let is_named = self.call.args.contains("K8S_POD_UID")
            || self.call.runtime_config.contains_key("cgroupPath");
        if is_named {
            Ok(Cgroup::open(&self.cgroup)?.id)
        } else {
            Ok(Namespace::open(&self.netns)?.id)
        }
    }

    /// Kills all that runs in the pod.
    ///
    /// # Errors
    /// The cgroup cannot be read.
    pub fn kill(&self) -> Result<()> {
        Ok(cgroup::kill_all(&self.cgroup)?)
    }

    /// A container's cgroup. What has none of its own runs in that of [`Pod::container_id`].
    pub fn container(&self, name: &str) -> PathBuf {
        self.cgroup.join(name)
    }

    fn place(&self, uid: u32) -> Result<Place> {
        Place::new(&self.container(&self.container_id), &self.netns, uid)
    }

    /// As containerd does, with a chain of its own.
    fn loopback(&self) -> Result<()> {
        let chain = Chain {
            name: "cni-loopback".into(),
            version: "1.0.0".into(),
            plugins: vec![json!({"type": "loopback"})],
            bin_dir: None,
        };
        let mut call = self.call.clone();
        call.ifname = "lo".into();
        chain.add(&call)?;
        Ok(())
    }

    fn remove(&self) -> Result<()> {
        if self.cgroup.exists() {
            self.kill()?;
        }
        let result = Some(&self.result).filter(|result| !result.is_null());
        let deleted = self.chain.del(&self.call, result);
        if self.netns.exists() {
            netns::remove(&self.netns)?;
        }
        cgroup::remove(&self.cgroup)?;
        deleted
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if let Err(e) = self.remove() {
            eprintln!("pod {}: {e:#}", self.name);
        }
    }
}
