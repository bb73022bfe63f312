//! A pod with a limit of memory that does not read what its neighbours send.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use std::{
    fs,
    path::{Path, PathBuf},
};
use tests::{cgroup, needs, node::Node, pod::Pod, sandbox, trial};

use crate::pressure::fill;

pub fn tests() -> Vec<Trial> {
    let root = shim::cgroup::root().unwrap_or_default();
    let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    let limits = controllers.split_whitespace().any(|controller| controller == "memory");
    let one = |name, node: fn(&str) -> Result<Node>, connections, limit| {
        let test = trial(name, move || compare(&node("memory")?, connections, limit));
        needs(test, limits, "no memory controller of cgroup v2")
    };
    let of_tcp = needs(
        trial("cases::memory::of_tcp_alone", of_tcp_alone),
        tcp_limits().is_some(),
        "no memory controller of cgroup v1, or none that limits TCP",
    );
    vec![
        of_tcp,
        one("cases::memory::of_16_connections", Node::learning, 16, 32 << 20),
        one("cases::memory::of_16_connections_by_name", Node::new, 16, 32 << 20),
        one("cases::memory::of_64_connections", Node::new, 64, 48 << 20),
        one("cases::memory::of_64_connections_with_room", Node::new, 64, 128 << 20),
    ]
}

/// The same events, and no more than half as much again in sockets; all that was sent arrives.
fn compare(node: &Node, connections: usize, limit: u64) -> Result<()> {
    // Once to become known, and once known.
    let twice = |pods: [&Pod; 2]| {
        hold(pods, connections, limit)?;
        hold(pods, connections, limit)
    };
    let plain = twice([&node.outside("c")?, &node.outside("d")?]).context("by plain TCP")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let attached = twice([&a, &b]).context("between attached pods")?;
    ensure!(plain.1 == attached.1, "events by plain TCP {:?}, attached {:?}", plain.1, attached.1);
    ensure!(
        attached.0 <= plain.0 * 3 / 2,
        "{} bytes in sockets, {} by plain TCP",
        attached.0,
        plain.0
    );
    let counters = node.counters(&a)?;
    ensure!(counters.shunted.bytes > 0, "the short way was not taken: {counters:?}");
    Ok(())
}

/// Bytes in the reader's sockets, and what became of its limit: OOM and kills.
fn hold([writer, reader]: [&Pod; 2], connections: usize, limit: u64) -> Result<(u64, Vec<String>)> {
    let at = |name: &str| reader.cgroup.join(name);
    controlled(&reader.cgroup)?;
    fs::write(at("memory.max"), limit.to_string())?;
    // Where the kernel has any.
    let _ = fs::write(at("memory.swap.max"), "0");
    let sock = || number(&fs::read_to_string(at("memory.stat"))?, "sock");
    let (_, held) = fill(writer, reader, connections, 64 << 10, None, None, sock)?;
    let events = fs::read_to_string(at("memory.events"))?;
    let events = events.lines().filter(|event| event.starts_with("oom"));
    Ok((held, events.map(str::to_owned).collect()))
}

/// Where version 1 limits what TCP holds of a cgroup's memory: a hierarchy's root.
fn tcp_limits() -> Option<PathBuf> {
    let hierarchies = cgroup::hierarchies().ok()?;
    hierarchies.into_iter().find(|it| it.join(TCP_LIMIT).exists())
}

const TCP_LIMIT: &str = "memory.kmem.tcp.limit_in_bytes";

/// Of less than its connections' first messages. Who sends is in no such cgroup, and has no error by it.
fn of_tcp_alone() -> Result<()> {
    let node = Node::new("tcp-memory")?;
    // The sandbox's own, which goes with it.
    let root = tcp_limits().context("no such hierarchy")?;
    let own = root.join(sandbox::cgroup_parent()?.strip_prefix("/")?);
    fs::create_dir_all(&own)?;
    for (limit, message) in [(400_000, 2 << 10), (400_000, 64 << 10), (3_000_000, 2 << 10)] {
        fs::write(own.join(TCP_LIMIT), limit.to_string())?;
        let hold = |[writer, reader]: [&Pod; 2]| {
            fill(writer, reader, 24, message, None, Some(&own), || Ok(0))
        };
        hold([&node.outside("c")?, &node.outside("d")?]).context("by plain TCP")?;
        let (a, b) = (node.pod("a")?, node.pod("b")?);
        hold([&a, &b]).with_context(|| {
            format!("between attached pods, {limit} bytes, messages of {message}")
        })?;
    }
    Ok(())
}

fn number(stat: &str, name: &str) -> Result<u64> {
    let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
    let (_, value) = lines.find(|(key, _)| *key == name).with_context(|| name.to_owned())?;
    Ok(value.parse()?)
}

/// Lets the pod's cgroup have a limit: all above it pass the controller on.
fn controlled(pod: &Path) -> Result<()> {
    let root = shim::cgroup::root()?;
    let above: Vec<_> = pod.ancestors().skip(1).take_while(|it| it.starts_with(&root)).collect();
    for cgroup in above.into_iter().rev() {
        let file = cgroup.join("cgroup.subtree_control");
        fs::write(&file, "+memory").with_context(|| file.display().to_string())?;
    }
    Ok(())
}
