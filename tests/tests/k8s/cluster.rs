//! A cluster of one node, of what Debian has: etcd, Kubernetes 1.20, containerd 1.6, runc.

mod settings;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use nix::sys::{prctl, signal::Signal};
use serde_json::Value;
use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::Write as _,
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
#[derive(Default)]
pub struct Cluster(Vec<(&'static str, Child)>);

impl Cluster {
    /// # Errors
    /// A part does not start, with the end of its log.
    pub fn start() -> Result<Self> {
        let mut cluster = Self::default();
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
            let logs = self.0.iter().map(|(name, _)| {
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
        let output = self.command(args).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {stderr}", args.join(" "));
        Ok(String::from_utf8(output.stdout)?)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut kubectl = Command::new(variable("DEPLOY").join("root/usr/bin/kubectl"));
        kubectl.arg("--kubeconfig").arg(path("kubeconfig")).args(args);
        kubectl
    }

    pub fn apply(&self, object: &Value) -> Result<()> {
        let mut kubectl = self.command(&["apply", "-f", "-"]);
        let mut kubectl = kubectl.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        kubectl.stdin.take().context("stdin")?.write_all(object.to_string().as_bytes())?;
        let status = kubectl.wait()?;
        ensure!(status.success(), "kubectl apply: {status}");
        Ok(())
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
        settings::configurations()?;
        self.run("etcd", [format!("--data-dir={DIR}/etcd")])?;
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
        self.run(
            "kube-controller-manager",
            [
                kubeconfig.clone(),
                format!("--service-account-private-key-file={DIR}/account.key"),
                format!("--root-ca-file={DIR}/ca.crt"),
            ],
        )?;
        self.run("kube-scheduler", [kubeconfig.clone()])?;
        self.run("containerd", [format!("--config={DIR}/containerd.toml")])?;
        self.until("containerd is ready", || Path::new(CONTAINERD).exists())?;
        self.import()?;
        self.run(
            "kubelet",
            [
                kubeconfig,
                format!("--config={DIR}/kubelet.json"),
                "--container-runtime=remote".into(),
                format!("--container-runtime-endpoint=unix://{CONTAINERD}"),
                "--hostname-override=node".into(),
                format!("--node-ip={NODE}"),
            ],
        )?;
        self.until("the account of pods is there", || {
            self.kubectl(&["get", "serviceaccount", "default"]).is_ok()
        })?;
        let ready = ["wait", "--for=condition=Ready", "node/node", "--timeout=10s"];
        self.until("the node is ready", || self.kubectl(&ready).is_ok())
    }

    fn run(&mut self, name: &'static str, args: impl IntoIterator<Item = String>) -> Result<()> {
        let out = File::create(log(name))?;
        let mut command = Command::new(program(name));
        command.args(args).stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
        command.env("PATH", path_variable());
        // SAFETY: a system call only.
        unsafe { command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)) };
        self.0.push((name, command.spawn().with_context(|| format!("start {name}"))?));
        Ok(())
    }

    fn until(&self, what: &str, holds: impl Fn() -> bool) -> Result<()> {
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
            run(Command::new(image).args(args).args(binaries))?;
            run(Command::new(program("ctr"))
                .args(["--namespace", "k8s.io", "image", "import"])
                .arg(&archive))?;
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
        if fails && under_way < 2 && !line.contains("not found") {
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

fn variable(name: &str) -> PathBuf {
    env::var_os(name).unwrap_or_default().into()
}

/// What `scripts/setup k8s` has put there comes first.
fn path_variable() -> String {
    let root = variable("K8S").join("root/usr");
    let path = env::var("PATH").unwrap_or_default();
    format!("{0}/bin:{0}/sbin:{path}", root.display())
}

fn program(name: &str) -> PathBuf {
    variable("K8S").join("root/usr/bin").join(name)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{:?}", command.get_program()))?;
    if !output.status.success() {
        let args: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{:?} {}: {stderr}", command.get_program(), args.join(" "));
    }
    Ok(())
}
