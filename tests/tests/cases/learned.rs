//! One connection of its own that comes back to a proxy by another address makes none that leaves the
//! node local: those never enter the sockhash.

use anyhow::{Result, ensure};
use std::net::Ipv4Addr;
use tests::{
    istio::INBOUND,
    node::Node,
    task::{Signal, Task},
    traffic::{Mode::NonBlocking, PORT, Stream, listen},
};

use crate::pairing::{answer, ask, command};

/// As ztunnel (root, and its sockets are in its own pod's cgroup) reaches itself by a NodePort.
pub fn nothing_of_what_leaves() -> Result<()> {
    const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 1);
    let node = Node::new("ztunnel")?;
    let (pod, outside) = (node.pod("ztunnel")?, node.outside("outside")?);
    let back = format!("-t nat -A OUTPUT -p tcp -d {ELSEWHERE} -j REDIRECT --to-ports {INBOUND}");
    pod.run(|| command("iptables", &back))?;
    let (listening, held) = (Signal::new()?, Signal::new()?);
    let own = pod.spawn(|| {
        let listener = listen((Ipv4Addr::UNSPECIFIED, INBOUND), NonBlocking)?;
        listening.raise()?;
        answer(Stream::accept(&listener, NonBlocking)?)
    })?;
    listening.wait()?;
    pod.run(|| ask(Stream::connect((ELSEWHERE, PORT), NonBlocking)?))?;
    own.join()?;

    let server: Task<()> = outside.spawn(|| {
        let listener = listen((Ipv4Addr::UNSPECIFIED, PORT), NonBlocking)?;
        listening.raise()?;
        let all: Vec<_> =
            (0..5).map(|_| Stream::accept(&listener, NonBlocking)).collect::<Result<_>>()?;
        held.wait()?;
        drop(all);
        Ok(())
    })?;
    listening.wait()?;
    let entered = pod.run(|| {
        let connect = || Stream::connect((outside.ipv4, PORT), NonBlocking);
        let _all: Vec<_> = (0..5).map(|_| connect()).collect::<Result<_>>()?;
        let entered = node.sockets()?.len();
        held.raise()?;
        Ok(entered)
    })?;
    server.join()?;
    ensure!(entered == 0, "{entered} of 5 connections that leave the node are in the sockhash");
    Ok(())
}
