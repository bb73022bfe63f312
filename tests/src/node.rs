//! A node: what all its pods share.

use crate::{
    cgroup,
    cni::Chain,
    link,
    pod::{Pod, PodSpec},
    sandbox,
};
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use shim::{
    datapath::Datapath,
    layout::{Cookie, Counters, Habit, Program, Watch},
    pins,
};
use std::{
    cell::Cell,
    env, fs, io,
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

thread_local! {
    /// Nodes made so far: each has a bridge and subnets of its own.
    static NODES: Cell<u16> = const { Cell::new(0) };
}

/// A bridge with an IPv4 and an IPv6 subnet, a cgroup subtree, a pin folder and a lock of its own;
/// on drop removes what it made. Pods must be dropped before it, so make it first.
pub struct Node {
    pub name: String,
    /// Cgroup of the node, an absolute path; pods are below `kubepods` in it.
    pub cgroup: PathBuf,
    /// Pin folder of this node's shunt. Not there before the first ADD.
    pub pins: PathBuf,
    /// Lock file of this node's shunt.
    pub lock: PathBuf,
    /// A folder for this node's files.
    pub dir: PathBuf,
    /// The bridge's addresses: the pods' gateways.
    pub ipv4: Ipv4Addr,
    pub ipv6: Ipv6Addr,
    pub bridge: String,
    /// Keys of shunt's conf that all pods of this node have.
    pub conf: Map<String, Value>,
    number: u16,
}

impl Node {
    /// A node with a pin folder of its own, `/sys/fs/bpf/NAME`.
    ///
    /// # Errors
    /// Not in a sandbox, a node of that name is there, or more than 4000 were made.
    pub fn new(name: &str) -> Result<Node> {
        Node::with_pins(name, Path::new("/sys/fs/bpf").join(name))
    }

    /// As [`Node::new`], with that pin folder.
    ///
    /// # Errors
    /// As [`Node::new`].
    pub fn with_pins(name: &str, pins: PathBuf) -> Result<Node> {
        let number = NODES.replace(NODES.get() + 1) + 1;
        ensure!(number <= 4000, "too many nodes");
        let node = Node {
            name: name.into(),
            cgroup: sandbox::cgroup()?.join(name),
            pins,
            lock: Path::new("/run").join(format!("{name}.lock")),
            dir: Path::new("/run").join(name),
            // From 10.77.1.1 to 10.92.160.1: tests have other uses for what is above.
            ipv4: (0x0a4d_0001 + (u32::from(number) << 8)).into(),
            ipv6: Ipv6Addr::new(0xfd77, number, 0, 0, 0, 0, 0, 1),
            bridge: format!("node{number}"),
            conf: by_name(),
            number,
        };
        fs::create_dir(&node.cgroup)
            .with_context(|| format!("create {}", node.cgroup.display()))?;
        fs::create_dir_all(&node.dir)?;
        Ok(node)
    }

    /// One whose shunt watches what programs do. The tests' own processes are trusted until they do
    /// something else.
    ///
    /// # Errors
    /// As [`Node::new`].
    pub fn watching(name: &str) -> Result<Node> {
        let mut node = Node::new(name)?;
        // The tracepoint of system calls works on every kernel.
        let watch = env::var("SHUNT_WATCH").unwrap_or("syscalls".into());
        node.conf.insert("watch".into(), watch.into());
        Ok(node)
    }

    /// One whose shunt is to learn which programs it can trust, and trusts none by name.
    ///
    /// # Errors
    /// As [`Node::new`].
    pub fn learning(name: &str) -> Result<Node> {
        let mut node = Node::watching(name)?;
        node.conf.insert("trustedPrograms".into(), json!([]));
        Ok(node)
    }

    /// Its pods trust a program by its name too.
    pub fn trust(&mut self, program: &str) {
        if let Some(named) = self.conf.get_mut("trustedPrograms").and_then(Value::as_array_mut) {
            named.push(program.into());
        }
    }

    /// Its pods trust the tests' own processes in blocking mode too, where those poll first.
    pub fn poll_in_blocking_mode(&mut self) {
        self.conf.insert("pollingPrograms".into(), json!([own_name()]));
    }

    /// A pod with shunt in its chain.
    ///
    /// # Errors
    /// As [`Pod::new`].
    pub fn pod(&self, name: &str) -> Result<Pod> {
        self.pod_with(PodSpec::new(name))
    }

    /// # Errors
    /// As [`Pod::new`].
    pub fn pod_with(&self, spec: PodSpec) -> Result<Pod> {
        Pod::new(self, spec)
    }

    /// A peer on the same bridge that shunt never heard of: to shunt, it is not on this node.
    ///
    /// # Errors
    /// As [`Pod::new`].
    pub fn outside(&self, name: &str) -> Result<Pod> {
        let mut spec = PodSpec::new(name);
        spec.shunt = false;
        self.pod_with(spec)
    }

    /// bridge and host-local, then shunt if it is wanted, its conf with these keys besides.
    pub fn chain(&self, shunt: bool, version: &str, extra: &Map<String, Value>) -> Chain {
        let Node { ipv4, number, bridge, .. } = self;
        let mut plugins = vec![json!({
            "type": "bridge",
            "bridge": bridge,
            "isGateway": true,
            "ipam": {
                "type": "host-local",
                "dataDir": self.dir.join("ipam"),
                "ranges": [
                    [{"subnet": format!("{}/24", Ipv4Addr::from(u32::from(*ipv4) & !0xff))}],
                    [{"subnet": format!("fd77:{number:x}::/64")}],
                ],
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
            },
        })];
        if shunt {
            let mut conf = json!({
                "type": "shunt",
                "capabilities": {"cgroupPath": true, "io.kubernetes.cri.pod-annotations": true},
                "pinPath": self.pins,
                "lockFile": self.lock,
                "logFile": self.log(),
                "logLevel": "debug",
            });
            for (key, value) in self.conf.iter().chain(extra) {
                conf[key] = value.clone();
            }
            plugins.push(conf);
        }
        Chain { name: self.name.clone(), version: version.into(), plugins, bin_dir: None }
    }

    /// What this node's shunt has pinned.
    ///
    /// # Errors
    /// Nothing is pinned, or the kernel refuses.
    pub fn datapath(&self) -> Result<Datapath> {
        Datapath::open(&self.pins)?.context("nothing is pinned")
    }

    /// What shunt counted for a pod.
    ///
    /// # Errors
    /// It is not accelerated.
    pub fn counters(&self, pod: &Pod) -> Result<Counters> {
        let id = pod.id()?;
        let log = || fs::read_to_string(self.log()).unwrap_or_default();
        let known = self.datapath()?.pod(id)?;
        Ok(known.with_context(|| format!("not accelerated: {}", log()))?.counters)
    }

    /// How programs are watched here.
    ///
    /// # Errors
    /// Nothing is pinned, or the kernel refuses.
    pub fn is_watched(&self) -> Result<bool> {
        Ok(self.datapath()?.node()?.watch != Watch::Names as u64)
    }

    /// What is known of a pod's programs.
    ///
    /// # Errors
    /// Nothing is pinned, or the kernel refuses.
    pub fn habits(&self, pod: &Pod) -> Result<Vec<(Program, Habit)>> {
        let id = pod.id()?;
        let mut habits = self.datapath()?.habits().all()?;
        habits.retain(|(program, _)| program.pod == id);
        Ok(habits)
    }

    /// The cookies of the sockets in the sockhash.
    ///
    /// # Errors
    /// Nothing is pinned, or the kernel refuses.
    pub fn sockets(&self) -> Result<Vec<Cookie>> {
        Ok(self.datapath()?.connections()?.cookies()?.into_iter().collect())
    }

    /// Where this node's shunt has pinned that object.
    pub fn pin(&self, name: &str) -> PathBuf {
        pins::folder(&self.pins).join(name)
    }

    /// Log file of this node's shunt.
    pub fn log(&self) -> PathBuf {
        self.dir.join("shunt.log")
    }

    fn remove(&self) -> Result<()> {
        cgroup::remove(&self.cgroup)?;
        for (path, removed) in [
            (&self.pins, fs::remove_dir_all(&self.pins)),
            (&self.lock, fs::remove_file(&self.lock)),
        ] {
            match removed {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(e).with_context(|| format!("remove {}", path.display()));
                }
                _ => {}
            }
        }
        // Without a pod there is no bridge.
        let _ = link::delete(&self.bridge);
        fs::remove_dir_all(&self.dir)?;
        Ok(())
    }
}

/// The tests' own processes are trusted from their first byte on.
fn by_name() -> Map<String, Value> {
    let named = json!([own_name(), "envoy", "python3", "python3.11"]);
    Map::from_iter([("trustedPrograms".into(), named)])
}

fn own_name() -> String {
    fs::read_to_string("/proc/self/comm").unwrap_or_default().trim_end().into()
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(e) = self.remove() {
            eprintln!("node {}: {e:#}", self.name);
        }
    }
}
