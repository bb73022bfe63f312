//! A cluster of one node: etcd, Kubernetes and containerd of one [`Release`], runc.

pub mod release;
mod settings;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use nix::sys::{prctl, signal::Signal};
use release::Release;
use serde_json::Value;
use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    net::{Ipv4Addr, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use tests::task::PATIENCE;

/// Where certificates, configurations and logs are.
const DIR: &str = "/var/lib/cluster";
const SERVICES: &str = "10.96.0.0/24";
const PORT: &str = "6443";
const NODE: Ipv4Addr = Ipv4Addr::new(10, 97, 0, 1);
const CONTAINERD: &str = "/run/containerd/containerd.sock";
/// Reasons of events that tell of a pod that failed.
const FAILURES: [&str; 7] = [
    "BackOff",
    "Failed",
    "FailedCreatePodSandBox",
    "FailedKillPod",
    "FailedPostStartHook",
    "FailedPreStopHook",
    "NetworkFailed",
];

/// How containerd answers a kubelet whose container ended while it was being killed.
const CONTAINERDS_OWN: &str = "ttrpc: closed";

/// Its processes end with this one; all else goes with the sandbox.
pub struct Cluster {
    pub release: Release,
    parts: Vec<(&'static str, Child)>,
}

impl Cluster {
    /// # Errors
    /// A part does not start, with the end of its log.
    pub fn start() -> Result<Self> {
        let mut cluster = Self { release: Release::chosen()?, parts: Vec::new() };
        let started = cluster.start_all();
        cluster.told(started)?;
        Ok(cluster)
    }

    /// Adds to an error what the parts of the cluster say.
    pub fn told<T>(&self, done: Result<T>) -> Result<T> {
        done.map_err(|error| {
            let pods = ["get", "pods,ds", "--all-namespaces", "-o", "wide"];
            let events = ["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"];
            let logs = ["-n", "kube-system", "logs", "ds/shunt", "--all-containers"];
            let told = [&pods[..], &events, &logs]
                .map(|args| self.kubectl(args).unwrap_or_else(|error| format!("{error:#}")));
            let logs = self.parts.iter().map(|(name, _)| {
                let log = fs::read_to_string(log(name)).unwrap_or_default();
                let lines: Vec<_> = log.lines().rev().take(15).collect();
                format!("{name}:\n{}", lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
            });
            let logs = logs.collect::<Vec<_>>().join("\n");
            anyhow!("{error:#}\n{}\n{logs}", told.join("\n"))
        })
    }

    /// # Errors
    /// What kubectl prints.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        said(&mut self.command(args))
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut kubectl = self.client(self.release.kubectl());
        kubectl.args(args);
        kubectl
    }

    /// A program that finds the cluster, and its own kubectl.
    pub fn client(&self, program: impl AsRef<OsStr>) -> Command {
        let mut client = Command::new(program);
        client.env("KUBECONFIG", path("kubeconfig")).env("PATH", self.path_variable());
        client
    }

    pub fn apply(&self, object: &Value) -> Result<()> {
        let object = self.keep("object.json", &object.to_string())?;
        self.kubectl(&["apply", "-f", &object]).map(drop)
    }

    /// In a file of that name, for kubectl to read.
    pub fn keep(&self, name: &str, text: &str) -> Result<String> {
        let file = path(name);
        fs::write(&file, text)?;
        Ok(file.to_str().context("path")?.to_owned())
    }

    /// Waits until the last is gone.
    pub fn has_no_pods_in(&self, namespace: &str) -> Result<()> {
        let pods = ["get", "pods", "--namespace", namespace, "--output=name"];
        self.until("no pod is left", || self.kubectl(&pods).is_ok_and(|pods| pods.is_empty()))
    }

    /// No pod has failed at any time, and of those that are there no container was started again.
    pub fn has_not_failed(&self) -> Result<()> {
        let items = |of: &str| -> Result<Vec<Value>> {
            let told = self.kubectl(&["get", of, "--all-namespaces", "--output=json"])?;
            let mut told: Value = serde_json::from_str(&told)?;
            serde_json::from_value(told["items"].take()).context("no items")
        };
        for event in items("events")? {
            let (reason, of) = (&event["reason"], &event["involvedObject"]["name"]);
            let message = event["message"].as_str().unwrap_or_default();
            let is_failure = FAILURES.iter().any(|failure| reason == failure);
            let is_failure =
                is_failure && !message.contains(CONTAINERDS_OWN) && !is_stopped_twice(message)?;
            ensure!(!is_failure, "{of}: {reason}: {message}");
        }
        for pod in items("pods")? {
            let containers = pod["status"]["containerStatuses"].as_array();
            for container in containers.into_iter().flatten() {
                let (name, count) = (&container["name"], &container["restartCount"]);
                ensure!(*count == 0, "{}: {name} started again", pod["metadata"]["name"]);
            }
        }
        Ok(())
    }

    fn start_all(&mut self) -> Result<()> {
        fs::create_dir_all(DIR)?;
        settings::network()?;
        settings::certificates()?;
        settings::configurations(self.release)?;
        let forgets = "--unsafe-no-fsync".to_owned();
        self.run("etcd", [format!("--data-dir={DIR}/etcd"), forgets])?;
        self.run(
            "kube-apiserver",
            [
                "--etcd-servers=http://127.0.0.1:2379".to_owned(),
                format!("--secure-port={PORT}"),
                format!("--advertise-address={NODE}"),
                format!("--service-cluster-ip-range={SERVICES}"),
                format!("--tls-cert-file={DIR}/api.crt"),
                format!("--tls-private-key-file={DIR}/api.key"),
                format!("--token-auth-file={DIR}/tokens"),
                "--authorization-mode=RBAC".into(),
                "--kubelet-preferred-address-types=InternalIP".into(),
                "--service-account-issuer=https://cluster".into(),
                format!("--service-account-key-file={DIR}/account.key"),
                format!("--service-account-signing-key-file={DIR}/account.key"),
            ],
        )?;
        self.until("the API server is ready", || {
            TcpStream::connect((NODE, 6443)).is_ok()
                && self.kubectl(&["get", "--raw", "/readyz"]).is_ok()
        })?;
        let kubeconfig = format!("--kubeconfig={DIR}/kubeconfig");
        // Whoever is late to renew a lease ends, and nobody starts it again.
        let alone = "--leader-elect=false".to_owned();
        self.run(
            "kube-controller-manager",
            [
                kubeconfig.clone(),
                format!("--service-account-private-key-file={DIR}/account.key"),
                format!("--root-ca-file={DIR}/ca.crt"),
                alone.clone(),
            ],
        )?;
        self.run("kube-scheduler", [kubeconfig.clone(), alone])?;
        self.run("containerd", [format!("--config={DIR}/containerd.toml")])?;
        self.until("containerd is ready", || Path::new(CONTAINERD).exists())?;
        self.import()?;
        let flags = [
            kubeconfig,
            format!("--config={DIR}/kubelet.json"),
            "--hostname-override=node".into(),
            format!("--node-ip={NODE}"),
        ];
        self.run("kubelet", flags.into_iter().chain(self.release.kubelet_flags()))?;
        self.until("the account of pods is there", || {
            self.kubectl(&["get", "serviceaccount", "default"]).is_ok()
        })?;
        let ready = ["wait", "--for=condition=Ready", "node/node", "--timeout=10s"];
        self.until("the node is ready", || self.kubectl(&ready).is_ok())
    }

    fn run(&mut self, name: &'static str, args: impl IntoIterator<Item = String>) -> Result<()> {
        let out = File::create(log(name))?;
        let mut command = Command::new(self.program(name));
        command.args(args).stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
        command.env("PATH", self.path_variable());
        // SAFETY: a system call only.
        unsafe { command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)) };
        self.parts.push((name, command.spawn().with_context(|| format!("start {name}"))?));
        Ok(())
    }

    fn program(&self, name: &str) -> PathBuf {
        self.release.usr().join("bin").join(name)
    }

    /// Its own programs come first.
    fn path_variable(&self) -> String {
        let path = env::var("PATH").unwrap_or_default();
        let tools = self.release.kubectl().with_file_name("");
        format!("{0}/bin:{0}/sbin:{1}:{path}", self.release.usr().display(), tools.display())
    }

    pub fn until(&self, what: &str, holds: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            ensure!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
            sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// The images: shunt's by two names, and one that pods' sandboxes run.
    fn import(&self) -> Result<()> {
        let [shunt, shuntctl] = ["SHUNT_BIN", "SHUNTCTL_BIN"].map(variable);
        let busybox = PathBuf::from("/bin/busybox");
        for (name, entrypoint, binaries) in [
            ("shunt:0.2.0", r#"["/shuntctl"]"#, vec![&shunt, &shuntctl]),
            ("shunt:new", r#"["/shuntctl"]"#, vec![&shunt, &shuntctl]),
            ("pause:0", r#"["/busybox", "sleep", "infinity"]"#, vec![&busybox]),
        ] {
            let archive = path("image.tar");
            let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/image");
            let args = [archive.as_os_str(), name.as_ref(), entrypoint.as_ref()];
            said(Command::new(image).args(args).args(binaries))?;
            said(
                Command::new(self.program("ctr"))
                    .args(["--namespace", "k8s.io", "image", "import"])
                    .arg(&archive),
            )?;
        }
        Ok(())
    }
}

/// Whether a sandbox could not be stopped only as it was being stopped already, or was gone. The kubelet of 1.20
/// has two who stop a pod, its worker and who cleans up: what the one's plugins have deleted, the other's do not
/// find.
fn is_stopped_twice(message: &str) -> Result<bool> {
    let Some((_, sandbox)) = message.split_once("sandbox \\\"") else { return Ok(false) };
    let stop = format!("StopPodSandbox for \\\"{}", sandbox.split('\\').next().unwrap_or_default());
    let (mut under_way, mut has_failed) = (0, false);
    for line in fs::read_to_string(log("containerd"))?.lines().filter(|line| line.contains(&stop)) {
        let fails = line.contains("failed");
        if !fails && !line.contains("returns successfully") {
            under_way += 1;
            continue;
        }
        let is_gone = line.contains("not found") || line.contains("no such device");
        if fails && under_way < 2 && !is_gone {
            return Ok(false);
        }
        has_failed |= fails;
        under_way -= 1;
    }
    Ok(has_failed)
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

fn log(name: &str) -> PathBuf {
    path(name).with_extension("log")
}

pub fn variable(name: &str) -> PathBuf {
    env::var_os(name).unwrap_or_default().into()
}

/// What it prints.
///
/// # Errors
/// It fails, with what it says.
pub fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{:?}", command.get_program()))?;
    if !output.status.success() {
        let args: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{:?} {}: {stderr}", command.get_program(), args.join(" "));
    }
    Ok(String::from_utf8(output.stdout)?)
}
