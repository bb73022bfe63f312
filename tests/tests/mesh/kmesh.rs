//! Beside Kmesh: what is its own carries its header, nothing goes astray, the rest takes the short way or is
//! counted.

use super::{CONNECTIONS, SERVICE, ask, serve};
use crate::operate::until;
use anyhow::{Context as _, Result, ensure};
use shim::layout::{Counters, NotPaired};
use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddrV4},
    thread,
};
use tests::{
    leg::Leg,
    neighbour::kmesh::{self, Kmesh, WAYPOINT_PORT},
    node::Node,
    pod::Pod,
    task::{Signal, Task},
    traffic::{Mode::NonBlocking, PORT, Stream, listen},
};

const EXCHANGES: u64 = 100;

/// Each connection to the waypoint carries the header, which it checks; every byte is checked by who asks.
pub fn beside_kmesh() -> Result<()> {
    let node = Node::new("kmesh")?;
    let direct = SocketAddrV4::new(*SERVICE.ip(), 81);
    let [client, server, waypoint] =
        [node.pod("client")?, node.pod("server")?, node.pod("waypoint")?];
    let to = SocketAddrV4::new(server.ipv4, PORT);
    let by = SocketAddrV4::new(waypoint.ipv4, WAYPOINT_PORT);
    let _waypoint = take_header(&waypoint, to)?;
    let managed = [client.ipv4, server.ipv4];
    // Its programs are above the pods, so their order is the same whoever was there first.
    let mut kmesh = Kmesh::attach(&node.cgroup, &managed, &[(SERVICE, by), (direct, to)])?;
    for time in ["at first", "after its restart"] {
        let serving = serve(&server, "waypoint to application", EXCHANGES)?;
        ask(&client, SERVICE, "client", EXCHANGES).context("by the waypoint").context(time)?;
        let legs = serving.join()?;
        let by_short_way = |leg: &Leg| leg.shares().iter().all(|share| *share >= 0.95);
        ensure!(legs.iter().all(by_short_way), "{time}: {legs:?}");

        let serving = serve(&server, "server", EXCHANGES)?;
        ask(&client, direct, "client", EXCHANGES).context("by its address").context(time)?;
        serving.join()?;
        drop(kmesh);
        kmesh = Kmesh::attach(&node.cgroup, &managed, &[(SERVICE, by), (direct, to)])?;
    }
    // All that did not take the short way, of two times two ways.
    let each = 2 * CONNECTIONS as u64;
    until("every connection is counted", || {
        let Counters { paired, not_paired, .. } = node.counters(&client)?;
        let NotPaired { excluded_port, overruled, unanswered, .. } = not_paired;
        Ok(excluded_port == each && paired + overruled + unanswered == each)
    })?;
    let NotPaired { no_peer, .. } = node.counters(&waypoint)?.not_paired;
    ensure!(no_peer == each, "{no_peer} came to the waypoint");
    Ok(())
}

/// Kmesh's waypoint: the header says where to go, which is looked up in a table of one line.
fn take_header(pod: &Pod, to: SocketAddrV4) -> Result<Task<()>> {
    let listening = Signal::new()?;
    let task = pod.spawn(|| {
        let listener = listen((pod.ipv4, WAYPOINT_PORT), NonBlocking)?;
        listening.raise()?;
        while let Ok(mut down) = Stream::accept(&listener, NonBlocking) {
            thread::spawn(move || -> Result<()> {
                let mut header = [0; 16];
                down.read_exact(&mut header)?;
                // Else the client sees an end.
                ensure!(header == kmesh::header(SERVICE), "{header:x?}");
                let up = Stream::connect(to, NonBlocking)?;
                let (back, there) = (up.try_clone()?, down.try_clone()?);
                thread::spawn(move || pump(back, there));
                pump(down, up)
            });
        }
        Ok(())
    })?;
    listening.wait()?;
    Ok(task)
}

fn pump(mut from: Stream, mut to: Stream) -> Result<()> {
    let mut buffer = [0; 16 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(to.shutdown(Shutdown::Write)?),
            read => to.write_all(&buffer[..read])?,
        }
    }
}
