//! `adopt`: accelerates pods that are running already.
//!
//! It calls the plugin as a runtime would have, so that they get what a new pod gets.

use std::{
    fmt,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, anyhow, bail, ensure};
use serde::Serialize;
use serde_json::{Value, json};
use shim::{
    cgroup::{self, Cgroup, PodCgroup},
    datapath::Datapath,
    namespace::Namespace,
    sleepers,
};

use crate::{
    claim,
    conflist::SHUNT,
    disk::Disk,
    net_d::{self, Own},
    output::{Exit, Output},
    paths, pods,
};

/// What Kubernetes' runtimes call a pod's first interface.
const IFNAME: &str = "eth0";

/// Accelerate the new connections of pods that are running already
///
/// Annotations cannot be seen from the node: pods with `shunt/accelerate: "off"` are to be excluded
/// by namespace, or started anew afterwards.
#[derive(clap::Args)]
pub struct Adopt {
    #[command(flatten)]
    pub datapath: paths::Datapath,
    #[command(flatten)]
    pub cni: paths::Cni,
    #[command(flatten)]
    pub logs: pods::Logs,
}

/// What became of one pod.
#[derive(Clone, Debug, Serialize)]
pub struct Adopted {
    pub uid: String,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub accelerated: bool,
    /// Why not, or what of it cannot be.
    pub reason: Option<String>,
    /// Its listeners whose connections can be accelerated.
    pub listeners: usize,
}

impl Adopt {
    pub fn run(self, output: Output) -> anyhow::Result<Exit> {
        let Adopt { datapath, cni, logs } = &self;
        datapath.may_look()?;
        let adoption = Adoption::new(datapath, cni, logs)?;
        let plugin = cni.bin_dir.join(SHUNT);
        ensure!(
            plugin.exists(),
            "{} is not there: give the --bin-dir of install{}",
            plugin.display(),
            claim::elsewhere(&datapath.lock_file, &cni.bin_dir)
                .map_or(String::new(), |dir| format!(", {}", dir.display()))
        );
        let pods = adoption.pods();
        for pod in &pods {
            output.print(&adoption.adopt(pod));
        }
        if pods.is_empty() {
            output.print(&Nobody { adopted: "nobody" });
        }
        // Of those that were accelerated before; the others have done nothing yet.
        if let Some(mut datapath) = Datapath::open(&datapath.pin_path)? {
            sleepers::look(datapath.habits(), &adoption.root)?;
        }
        Ok(Exit::Done)
    }
}

/// How pods are adopted on this node.
pub struct Adoption<'a> {
    paths: &'a paths::Datapath,
    bin_dir: &'a Path,
    logs: &'a pods::Logs,
    /// Shunt's own, with the keys that a runtime adds.
    conf: Value,
    root: PathBuf,
}

impl<'a> Adoption<'a> {
    /// # Errors
    /// No network configuration has shunt's entry, or no cgroups are mounted.
    pub fn new(
        paths: &'a paths::Datapath,
        cni: &'a paths::Cni,
        logs: &'a pods::Logs,
    ) -> anyhow::Result<Self> {
        let Own { mut entry, name, version, .. } = net_d::entry(&Disk, &cni.net_dir)?;
        let conf = &mut entry;
        (conf["name"], conf["cniVersion"]) = (name.into(), version.into());
        paths.keys()?.into_iter().for_each(|(key, path)| conf[key] = json!(path));
        // The plugin then tells this process why it refuses.
        conf["logFile"] = Value::Null;
        conf["prevResult"] = json!({ "cniVersion": conf["cniVersion"] });
        let root = match conf["cgroupRoot"].as_str() {
            Some(root) => root.into(),
            None => cgroup::pods_root()?,
        };
        Ok(Self { paths, bin_dir: &cni.bin_dir, logs, conf: entry, root })
    }

    pub fn pods(&self) -> Vec<PodCgroup> {
        PodCgroup::all(&self.root)
    }

    pub fn adopt(&self, pod: &PodCgroup) -> Adopted {
        let (namespace, name) = self.logs.name_of(&pod.uid).unzip();
        let done = self.try_adopt(pod, namespace.as_deref(), name.as_deref());
        let (accelerated, listeners, reason) = match done {
            Ok(Ok(listeners)) => (true, listeners, None),
            Ok(Err(partly)) => (true, 0, Some(format!("{partly:#}"))),
            Err(refused) => (false, 0, Some(format!("{refused:#}"))),
        };
        Adopted { uid: pod.uid.clone(), namespace, name, accelerated, reason, listeners }
    }

    /// The inner error: it is accelerated, but for what its listeners accept.
    fn try_adopt(
        &self,
        pod: &PodCgroup,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> anyhow::Result<anyhow::Result<usize>> {
        let process = pod.process().context("nothing runs in it")?;
        let netns = format!("/proc/{process}/ns/net");
        // Held, so that its number is not another's meanwhile.
        let held = Namespace::of(process)?;
        let cgroup = Cgroup::open(&pod.path).ok().map(|cgroup| cgroup.id);
        let datapath = || anyhow::Ok(Datapath::open(&self.paths.pin_path)?);
        let attached = || match datapath()? {
            Some(datapath) => {
                let mut ids = cgroup.into_iter().chain([held.id]);
                anyhow::Ok(ids.find(|id| datapath.is_attached(*id).unwrap_or(false)))
            }
            None => Ok(None),
        };
        if attached()?.is_none() {
            let args = [("UID", Some(&*pod.uid)), ("NAMESPACE", namespace), ("NAME", name)];
            let args = args.into_iter().filter_map(|(key, value)| Some((key, value?)));
            let args: Vec<_> = args.map(|(key, value)| format!("K8S_POD_{key}={value}")).collect();
            let sandbox = pod.sandbox().unwrap_or_else(|| format!("adopted-{}", pod.uid));
            let said = self.add(pod, &sandbox, &netns, &args.join(";"))?;
            if attached()?.is_none() {
                let why = said.split_once("not accelerated: ").map_or(&*said, |(_, why)| why);
                bail!("{}", why.trim());
            }
        }
        let id = attached()?.context("it is gone")?;
        let mut datapath = datapath()?.context("nothing is pinned")?;
        Ok(datapath
            .adopt_listeners(id, &pod.processes())
            .context("what it listens for stays with TCP"))
    }

    /// CNI ADD. What the plugin logs.
    fn add(
        &self,
        pod: &PodCgroup,
        sandbox: &str,
        netns: &str,
        args: &str,
    ) -> anyhow::Result<String> {
        let mut conf = self.conf.clone();
        let below = pod.path.strip_prefix(&self.root).context("cgroup")?;
        conf["runtimeConfig"] = json!({ "cgroupPath": Path::new("/").join(below) });
        let binary = self.bin_dir.join(SHUNT);
        let mut plugin = Command::new(&binary)
            .env_clear()
            .envs([("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", sandbox), ("CNI_NETNS", netns)])
            .envs([("CNI_IFNAME", IFNAME), ("CNI_ARGS", args)])
            .env("CNI_PATH", self.bin_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| binary.display().to_string())?;
        let mut stdin = plugin.stdin.take().context("stdin")?;
        stdin.write_all(conf.to_string().as_bytes()).context("the plugin does not read")?;
        drop(stdin);
        let output = plugin.wait_with_output()?;
        if !output.status.success() {
            return Err(anyhow!(String::from_utf8_lossy(&output.stdout).trim().to_owned()));
        }
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// No pod was found.
#[derive(Serialize)]
struct Nobody {
    adopted: &'static str,
}

impl fmt::Display for Nobody {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("no pod of a kubelet runs here; others are accelerated when they are made anew")
    }
}

impl fmt::Display for Adopted {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match (&self.namespace, &self.name) {
            (Some(namespace), Some(name)) => write!(f, "{namespace}/{name}: ")?,
            _ => write!(f, "pod {}: ", self.uid)?,
        }
        match (self.accelerated, &self.reason) {
            (true, None) => {
                f.write_str("accelerated")?;
                match self.listeners {
                    0 => Ok(()),
                    1 => f.write_str(", and what its listener accepts from now on"),
                    some => write!(f, ", and what its {some} listeners accept from now on"),
                }
            }
            (true, Some(but)) => write!(f, "accelerated, but {but}"),
            (false, reason) => {
                write!(f, "not accelerated: {}", reason.as_deref().unwrap_or_default())
            }
        }
    }
}
