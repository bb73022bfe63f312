//! No connection that leaves the node is ever in the sockhash, whoever makes it: shown by the map, while
//! they are open.

use super::{ANSWER, ASK, SIZE, enrol, proxy_pod};
use crate::dnat::Dnat;
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use std::{fs, net::SocketAddrV4};
use tests::{
    node::Node,
    pod::Pod,
    relay::{Relay, Routes},
    task::{Signal, Task},
    traffic::{self, Mode::NonBlocking, PORT, Stream, listen},
};

const OPEN: usize = 100;
const NODE_PORT: u16 = 30080;

pub fn what_leaves_never_enters() -> Result<()> {
    let mut node = Node::new("leaving")?;
    let own = fs::read_to_string("/proc/self/comm")?;
    // Strangers would not enter for that alone.
    node.conf.insert("trustedPrograms".into(), json!([own.trim_end(), "ztunnel"]));
    let (proxy, client, server) = (proxy_pod(&node)?, node.pod("client")?, node.pod("server")?);
    let (plain, outside) = (node.pod("plain")?, node.outside("outside")?);
    let relay = Relay::start(&proxy, &Routes::default())?;
    for pod in [&client, &server] {
        enrol(pod, &[&relay])?;
    }
    let at = |pod: &Pod| SocketAddrV4::new(pod.ipv4, PORT);

    // By the node's address, and back to the relay itself.
    let to = SocketAddrV4::new(node.ipv4, NODE_PORT);
    let node_port = Dnat::open(to, at(&server))?;
    // Application and relay, relay and application; not the relay's own two.
    let open = Open::start((&client, to), &server, 1)?;
    ensure!(node.sockets()?.len() == 4, "by the NodePort: {}", node.sockets()?.len());
    open.end()?;
    drop(node_port);

    // Both ends of what stays on the node are there, and nothing else.
    for (from, to, ends) in [(&client, &outside, 2), (&plain, &outside, 0), (&outside, &server, 2)]
    {
        let way = format!("{} to {}", from.name, to.name);
        let before = node.counters(&proxy)?;
        let open = Open::start((from, at(to)), to, OPEN).with_context(|| way.clone())?;
        let (entered, now) = (node.sockets()?.len(), node.counters(&proxy)?);
        ensure!(entered == ends * OPEN, "{way}: {entered} of {OPEN} connections");
        let (paired, left) = (
            now.paired - before.paired,
            now.not_paired.remote - before.not_paired.remote + now.not_paired.no_peer
                - before.not_paired.no_peer,
        );
        let expected = if ends == 0 { 0 } else { OPEN as u64 };
        ensure!((paired, left) == (expected, expected), "{way}: {paired} paired, {left} left");
        open.end().context(way)?;
    }
    Ok(())
}

/// Connections that have exchanged something and are held.
struct Open {
    tasks: [Task<()>; 2],
    end: Signal,
}

impl Open {
    fn start((client, to): (&Pod, SocketAddrV4), server: &Pod, count: usize) -> Result<Self> {
        let (ready, end) = (Signal::new()?, Signal::new()?);
        let hold = |stream: &dyn Fn() -> Result<Stream>, patterns, is_first| {
            let mut all = Vec::new();
            for _ in 0..count {
                let mut stream = stream()?;
                traffic::exchange(&mut stream, patterns, is_first, SIZE, 1)?;
                all.push(stream);
            }
            ready.raise()?;
            end.wait()?;
            drop(all);
            Ok(())
        };
        let serving = server.spawn(|| {
            let listener = listen((server.ipv4, PORT), NonBlocking)?;
            ready.raise()?;
            hold(&|| Stream::accept(&listener, NonBlocking), [ANSWER, ASK], false)
        })?;
        ready.wait()?;
        let connect = || Stream::connect(to, NonBlocking);
        let asking = client.spawn(|| hold(&connect, [ASK, ANSWER], true))?;
        ready.wait()?;
        ready.wait()?;
        Ok(Self { tasks: [serving, asking], end })
    }

    fn end(self) -> Result<()> {
        self.end.raise()?;
        self.end.raise()?;
        self.tasks.into_iter().try_for_each(Task::join)
    }
}
