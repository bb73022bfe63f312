//! What `shuntctl doctor` says of a node is what is found there by other means.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use shim::{layout::name, lock::Lock};
use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};
use tests::{
    bpftool::bpftool,
    mptcp,
    neighbour::{Kind, Neighbour},
    node::Node,
    shuntctl,
};

use super::{call, net_d};

struct Findings(Vec<Value>);

impl Findings {
    fn new(node: &Node, args: &[String]) -> Result<Self> {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let answer = call(node, "doctor", &args)?;
        let cannot = answer.lines.iter().any(|finding| finding["verdict"] == "no");
        ensure!(answer.code == if cannot { 3 } else { 0 }, "{answer:?}");
        Ok(Self(answer.lines))
    }

    fn of(&self, check: &str) -> Result<&Value> {
        self.0.iter().find(|it| it["check"] == check).with_context(|| format!("no {check}"))
    }

    fn is(&self, check: &str, verdict: &str, says: &str) -> Result<()> {
        let finding = self.of(check)?;
        let found = finding["found"].as_str().context("no text")?;
        ensure!(finding["verdict"] == verdict && found.contains(says), "{finding}, not {says:?}");
        Ok(())
    }
}

pub fn says_what_is_true() -> Result<()> {
    let node = Node::new("doctor")?;
    let args = net_d(&node)?;
    let before = Findings::new(&node, &args)?;
    ensure!(!node.pins.exists(), "it has left something");
    before.is(
        "kernel",
        "ok",
        &format!("Linux {}", nix::sys::utsname::uname()?.release().display()),
    )?;
    ensure!(Path::new("/sys/kernel/btf/vmlinux").exists());
    before.is("btf", "ok", "")?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let of_type = |kind| mounts.lines().filter(move |mount| mount.split(' ').nth(2) == Some(kind));
    let root =
        of_type("cgroup2").next().and_then(|mount| mount.split(' ').nth(1)).context("root")?;
    if of_type("cgroup").next().is_none() {
        before.is("cgroups", "ok", &format!("version 2 at {root}"))?;
        before.is("net_cls, net_prio", "ok", "")?;
    } else {
        before.is("cgroups", "ok", &format!("hybrid: version 2 at {root},"))?;
    }
    ensure!(of_type("bpf").any(|mount| mount.split(' ').nth(1) == Some("/sys/fs/bpf")));
    before.is("bpffs", "ok", "is on one")?;
    before.is(
        "foreign programs",
        "ok",
        if attached(root)? { "" } else { "no sock_ops program" },
    )?;
    before.is("mptcp", "ok", if mptcp::socket().is_ok() { "on:" } else { "off" })?;
    before.is("conflist", "ok", "has shunt")?;
    before.is("pins", "ok", "nothing is pinned")?;
    before.is("lock", "ok", "free")?;

    // What it said could be done is done.
    let _pods = (node.pod("a")?, node.pod("b")?);
    before.is("programs", "ok", "")?;
    let watchers = fs::read_dir(node.pin(name::WATCHES))?.flatten();
    let watchers: Vec<_> = watchers.map(|pin| pin.file_name().into_string()).collect();
    let are = |kind| watchers.iter().flatten().any(|watcher| watcher.starts_with(kind));
    match () {
        () if are("fentry") => before.is("watch", "ok", "by fentry")?,
        () if are("kprobe") => before.is("watch", "ok", "by kprobes")?,
        () => before.is("watch", "limited", "by name")?,
    }
    let program = node.pin(name::MESSAGE);
    let program =
        bpftool(["prog".as_ref(), "show".as_ref(), "pinned".as_ref(), program.as_os_str()])?;
    if !Path::new("/proc/sys/net/core/bpf_jit_enable").exists() {
        before.is("jit", "ok", "not shown")?;
    } else if program["jited"] == true {
        before.is("jit", "ok", "are compiled")?;
    } else {
        before.is("jit", "limited", "are interpreted")?;
    }

    let _held = Lock::take(&node.lock, Duration::ZERO)?;
    fs::remove_dir_all(node.dir.join("net.d"))?;
    let after = Findings::new(&node, &args)?;
    after.is("pins", "ok", "2 pods")?;
    after.is("lock", "limited", "is held")?;
    after.is("conflist", "limited", "")?;
    let no_bpffs = shuntctl::run(["doctor", "--pin-path", "/run/pins"])?;
    ensure!(no_bpffs.code == 3, "{no_bpffs:?}");
    Ok(())
}

/// Whether anybody's sock_ops program is on the root cgroup.
fn attached(root: &str) -> Result<bool> {
    let programs = bpftool(["cgroup", "show", root])?;
    let mut kinds = programs.as_array().into_iter().flatten().map(|it| it["attach_type"].as_str());
    Ok(kinds.any(|kind| kind.is_some_and(|kind| kind.ends_with("sock_ops"))))
}

/// By their programs' names, and where they are attached.
pub fn names_neighbours() -> Result<()> {
    let node = Node::new("neighbours")?;
    let args = net_d(&node)?;
    let at = "sock_ops neighbou (id ";
    let place = format!(") at {}", node.cgroup.display());
    let says = |is_there: bool| -> Result<()> {
        let findings = Findings::new(&node, &args)?;
        let found = findings.of("neighbours")?["found"].as_str().context("no text")?;
        let told = found.split(", ");
        let named = told.clone().any(|it| it.starts_with(at) && it.ends_with(&place));
        ensure!(named == is_there, "{found}");
        ensure!(!is_there || told.clone().any(|it| it.starts_with("sk_msg neighbou")), "{found}");
        ensure!(!found.contains("shunt_"), "{found}");
        Ok(())
    };
    let pod = node.pod("a")?;
    says(false)?;
    let _neighbour = Neighbour::attach(Kind::Sockhash, &node.cgroup)?;
    says(true)?;
    drop(pod);
    Ok(())
}

/// Where no cgroups are mounted doctor says so, and install keeps to it; those of version 1 will do.
pub fn tells_of_version_1() -> Result<()> {
    const WITHOUT: &str = "umount --all --types cgroup,cgroup2
        mount -t tmpfs tmpfs /sys/fs/cgroup";
    let node = Node::new("version1")?;
    let own = node.cgroup.parent().and_then(Path::file_name).context("no sandbox")?;
    let hierarchy = format!(
        "{WITHOUT}
        mkdir /sys/fs/cgroup/systemd
        mount -t cgroup -o none,name={} cgroup /sys/fs/cgroup/systemd",
        own.display()
    );
    let at = |mounts: &str, command: &str, more: &[&str]| -> Result<Output> {
        let script = format!("{mounts}\nexec \"$0\" \"$@\"");
        let shuntctl = shuntctl::command()?;
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "bash", "-euc", &script]).arg(shuntctl.get_program());
        unshare.arg(command).arg("--pin-path").arg(&node.pins).arg("--lock-file").arg(&node.lock);
        Ok(unshare.args(net_d(&node)?).args(more).output()?)
    };
    for (mounts, verdict, says, exit) in
        [(WITHOUT, "no", "none are mounted", 3), (&hierarchy, "ok", "version 1 only", 0)]
    {
        let told = shuntctl::answer(at(mounts, "doctor", &["--json"])?)?;
        let findings = Findings(told.lines);
        ensure!(findings.0[0]["check"] == "verdict", "{:?}", findings.0);
        findings.is("cgroups", verdict, says)?;
        if exit != 0 {
            ensure!(told.code == exit, "{:?}", findings.0);
            findings.is("verdict", "no", "cannot be accelerated: cgroups")?;
        }
        let binary = format!("--binary={}", tests::cni::shunt()?.display());
        let installed = at(mounts, "install", &[&binary, "--must-accelerate", "--json"])?;
        let installed = shuntctl::answer(installed)?;
        ensure!(
            installed.code == exit && node.pins.exists() == (exit == 0),
            "{mounts}: {installed:?}"
        );
        let why = installed.json["cannot_accelerate"].as_str();
        ensure!(exit == 0 || why.is_some_and(|why| why.contains("no cgroups are mounted")));
    }
    // The node itself is as it was.
    Findings::new(&node, &net_d(&node)?)?.is("cgroups", "ok", "version 2 at")
}
