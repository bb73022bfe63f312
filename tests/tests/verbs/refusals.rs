//! Nodes that cannot accelerate: their pods come up all the same, and a person learns why not.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::{
    mount::{MsFlags, mount, umount},
    sys::resource::{Resource::RLIMIT_FSIZE, getrlimit, setrlimit},
};
use serde_json::{Map, Value, json};
use shim::{layout::NotAccelerated, lock::Lock};
use std::{fs, path::Path, time::Duration};
use tests::{
    bpftool::bpftool,
    node::Node,
    pod::{Pod, PodSpec},
};

use super::{conf, is_accelerated, shunt, trials};

const BPFFS: &str = "/sys/fs/bpf";

pub fn tests() -> Vec<Trial> {
    trials(
        "verbs::refusals",
        &[
            ("no_bpffs", no_bpffs),
            ("no_cgroup2", no_cgroup2),
            ("pins_of_another_layout", pins_of_another_layout),
            ("exclusive_foreign_program", exclusive_foreign_program),
            ("lock_that_is_not_released", lock_that_is_not_released),
            ("name_that_is_too_long", name_that_is_too_long),
            ("log_that_cannot_be_written", log_that_cannot_be_written),
        ],
    )
}

/// The pod is up, all verbs succeed on it, and the log has the reason.
fn is_refused(node: &Node, pod: &Pod, reason: &str) -> Result<()> {
    ensure!(pod.run(|| Ok(std::net::TcpListener::bind((pod.ipv4, 80)).is_ok()))?);
    let log = fs::read_to_string(node.log())?;
    let warned = log.lines().any(|line| line.contains("WARN") && line.contains(reason));
    ensure!(warned, "no {reason:?} in {log}");
    pod.chain.check(&pod.call, &pod.result)?;
    pod.chain.del(&pod.call, Some(&pod.result))?;
    pod.chain.del(&pod.call, None)
}

fn counted(node: &Node, reason: impl FnOnce(NotAccelerated) -> u64) -> Result<()> {
    let counters = node.datapath()?.node()?;
    let count = reason(counters.not_accelerated);
    ensure!(count == 1 && counters.accelerated == 0, "{counters:?}");
    Ok(())
}

fn key(key: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([(key.to_owned(), value)])
}

/// Hides the sandbox's own, and the host's below it.
struct NoBpffs;

impl NoBpffs {
    fn new() -> Result<NoBpffs> {
        mount(Some("tmpfs"), BPFFS, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        Ok(NoBpffs)
    }
}

impl Drop for NoBpffs {
    fn drop(&mut self) {
        if let Err(e) = umount(BPFFS) {
            eprintln!("unmount {BPFFS}: {e}");
        }
    }
}

fn no_bpffs() -> Result<()> {
    let node = Node::new("nobpffs")?;
    let _without = NoBpffs::new()?;
    let pod = node.pod("a")?;
    is_refused(&node, &pod, "is not on a bpffs")
}

fn no_cgroup2() -> Result<()> {
    let node = Node::new("nocgroup2")?;
    let mut spec = PodSpec::new("a");
    spec.conf = key("cgroupRoot", json!(node.dir));
    let pod = node.pod_with(spec)?;
    counted(&node, |reasons| reasons.no_cgroup)?;
    is_refused(&node, &pod, "no cgroup for the pod")
}

fn pins_of_another_layout() -> Result<()> {
    let node = Node::new("layout")?;
    let pin = node.pin("pods");
    fs::create_dir_all(pin.parent().context("folder")?)?;
    let map = ["type", "hash", "key", "8", "value", "8", "entries", "1", "name", "pods"];
    let create = ["map", "create", pin.to_str().context("pin")?];
    bpftool(create.iter().chain(&map))?;
    let pod = node.pod("a")?;
    is_refused(&node, &pod, "pinned with another layout")?;
    // It may be a newer shunt's: nothing is overwritten.
    ensure!(bpftool(["map", "show", "pinned", create[2]])?["bytes_value"] == 8);
    Ok(())
}

/// Attached as `bpftool cgroup attach` does without `multi`: no other below that cgroup.
struct Exclusive<'a> {
    cgroup: &'a Path,
    program: &'a Path,
}

impl<'a> Exclusive<'a> {
    fn new(cgroup: &'a Path, program: &'a Path) -> Result<Exclusive<'a>> {
        let exclusive = Exclusive { cgroup, program };
        exclusive.call("attach")?;
        Ok(exclusive)
    }

    fn call(&self, verb: &str) -> Result<()> {
        let (cgroup, program) = (self.cgroup.as_os_str(), self.program.as_os_str());
        let kind = ["cgroup_sock_ops", "pinned"].map(AsRef::as_ref);
        bpftool([&["cgroup".as_ref(), verb.as_ref(), cgroup], &kind[..], &[program]].concat())?;
        Ok(())
    }
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        if let Err(e) = self.call("detach") {
            eprintln!("{e:#}");
        }
    }
}

fn exclusive_foreign_program() -> Result<()> {
    let (foreign, node) = (Node::new("foreign")?, Node::new("exclusive")?);
    // Any sock_ops program will do; another node's is at hand.
    let _pod = foreign.pod("a")?;
    let program = foreign.pin(shim::layout::name::ESTABLISH);
    let exclusive = Exclusive::new(&node.cgroup, &program)?;
    let pod = node.pod("a")?;
    counted(&node, |reasons| reasons.foreign_program)?;
    ensure!(node.datapath()?.pods()?.is_empty() && node.datapath()?.pod_ips()?.is_empty());
    is_refused(&node, &pod, "allows no other")?;

    drop(exclusive);
    ensure!(is_accelerated(&node, &node.pod("b")?)?);
    Ok(())
}

fn lock_that_is_not_released() -> Result<()> {
    let node = Node::new("locked")?;
    let lock = Lock::take(&node.lock, Duration::ZERO)?;
    let pod = node.pod("a")?;
    drop(lock);
    is_refused(&node, &pod, "is held by another process")
}

fn name_that_is_too_long() -> Result<()> {
    let node = Node::new("toolong")?;
    let pod = node.pod("a")?;
    let mut call = pod.call.clone();
    call.container_id = "c".repeat(200);
    for verb in ["ADD", "CHECK", "DEL"] {
        shunt(verb, &call, &conf(&pod)?)?;
    }
    ensure!(is_accelerated(&node, &pod)?);
    Ok(())
}

fn log_that_cannot_be_written() -> Result<()> {
    let node = Node::new("log")?;
    for path in ["/dev/full", "/run", "/nowhere/at/all", "/proc/1/mem"] {
        let mut spec = PodSpec::new("a");
        spec.conf = key("logFile", json!(path));
        let pod = node.pod_with(spec)?;
        ensure!(is_accelerated(&node, &pod)?, "{path}");
    }
    let pod = node.pod("b")?;
    let conf = conf(&pod)?;
    let (soft, hard) = getrlimit(RLIMIT_FSIZE)?;
    // No file may grow.
    setrlimit(RLIMIT_FSIZE, 0, hard)?;
    let done = shunt("ADD", &pod.call, &conf);
    setrlimit(RLIMIT_FSIZE, soft, hard)?;
    done.map(drop)
}
