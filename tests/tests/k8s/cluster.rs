//! A cluster of one node, of what Debian has: etcd, Kubernetes 1.20, containerd 1.6, runc.

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use nix::{
    mount::{MsFlags, mount},
    sys::{prctl, signal::Signal},
};
use serde_json::{Value, json};
use std::{
    env,
    ffi::OsStr,
    fs::{self, File, Permissions},
    io::Write as _,
    net::{Ipv4Addr, TcpStream},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use tests::{cgroup, sandbox, task::PATIENCE};

/// Where certificates, configurations and logs are.
const DIR: &str = "/var/lib/cluster";
/// The first of the services' addresses is the API server's.
const SERVICES: &str = "10.96.0.0/24";
const API: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
const PORT: &str = "6443";
const NODE: Ipv4Addr = Ipv4Addr::new(10, 97, 0, 1);
const PODS: &str = "10.98.0.0/24";
const CONTAINERD: &str = "/run/containerd/containerd.sock";
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

/// Its processes end on drop; all else goes with the sandbox.
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

    fn start_all(&mut self) -> Result<()> {
        fs::create_dir_all(DIR)?;
        network()?;
        certificates()?;
        configurations()?;
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
            ("shunt:0.1.0", r#"["/shuntctl"]"#, vec![&shunt, &shuntctl]),
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

impl Drop for Cluster {
    fn drop(&mut self) {
        for (_, process) in self.0.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// An address for the node, and what kube-proxy does for the one service that is used.
fn network() -> Result<()> {
    for args in [
        "link add node type bridge".to_owned(),
        format!("addr add {NODE}/24 dev node"),
        "link set node up".into(),
        "route add default dev node".into(),
    ] {
        run(Command::new("ip").args(args.split(' ')))?;
    }
    let rule =
        format!("-t nat -A OUTPUT -p tcp -d {API} --dport 443 -j REDIRECT --to-ports {PORT}");
    run(Command::new("iptables").args(rule.split(' ')))
}

fn certificates() -> Result<()> {
    fs::write(path("names"), format!("subjectAltName=IP:{API},IP:{NODE}"))?;
    for args in [
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.crt",
        "req -newkey rsa:2048 -nodes -subj /CN=api -keyout api.key -out api.csr",
        "x509 -req -in api.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out api.crt",
        "genrsa -out account.key 2048",
    ] {
        run(Command::new("openssl").args(args.split(' ')).current_dir(DIR))?;
    }
    Ok(())
}

fn configurations() -> Result<()> {
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
    let kubelet = json!({
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
    fs::write(path("kubelet.json"), kubelet.to_string())?;
    for (name, value) in TUNABLES {
        let file = path(&name.replace('/', "-"));
        fs::write(&file, value)?;
        let at = Path::new("/proc/sys").join(name);
        mount(Some(&file), &at, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| at.display().to_string())?;
    }

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
        runc()?.display()
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
fn runc() -> Result<PathBuf> {
    let status = fs::read_to_string("/proc/self/status")?;
    let bounds =
        status.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).context("CapBnd")?;
    let runc = variable("K8S").join("root/usr/sbin/runc");
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
