//! Connections to a Service's address, which is no pod's.

use super::{Count, EXCHANGES, answering, ask};
use crate::dnat::Dnat;
use anyhow::Result;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddrV4};
use tests::{
    node::Node,
    traffic::{Mode::NonBlocking, PORT, Stream},
};

/// A Service's address, and how the pods are to be reached by it.
const SERVICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 10), 80);

/// A ClusterIP may lead off the node at the next connection, so its sockets never enter.
pub fn service_address_stays_tcp() -> Result<()> {
    let node = Node::new("service")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let count = Count::start(&node, &a)?;
    let _dnat = Dnat::open(SERVICE, SocketAddrV4::new(b.ipv4, PORT))?;
    let server = answering(&b, b.ipv4.into())?;
    a.run(|| ask(Stream::connect(SERVICE, NonBlocking)?))?;
    server.join()?;
    count.untouched()?;
    assert_eq!(node.counters(&a)?.not_paired.remote, 1);
    assert_eq!(node.counters(&b)?.not_paired.no_peer, 1);
    Ok(())
}

/// Where the configuration says that it is one: its sockets enter, and leave with the first ACK if no pod
/// of this node has answered.
pub fn service_cidrs_enter_on_trial() -> Result<()> {
    let mut node = Node::new("trial")?;
    node.conf.insert("serviceCIDRs".into(), json!(["fd00:96::/112", "10.96.0.0/12"]));
    let (a, b, outside) = (node.pod("a")?, node.pod("b")?, node.outside("outside")?);
    let counts = [Count::start(&node, &a)?, Count::start(&node, &b)?];
    let dnat = Dnat::open(SERVICE, SocketAddrV4::new(b.ipv4, PORT))?;
    let server = answering(&b, b.ipv4.into())?;
    a.run(|| ask(Stream::connect(SERVICE, NonBlocking)?))?;
    server.join()?;
    counts.into_iter().try_for_each(|count| count.shunted(1, EXCHANGES))?;
    drop(dnat);

    let _dnat = Dnat::open(SERVICE, SocketAddrV4::new(outside.ipv4, PORT))?;
    let server = answering(&outside, outside.ipv4.into())?;
    let before = node.counters(&a)?;
    let entered = a.run(|| {
        let stream = Stream::connect(SERVICE, NonBlocking)?;
        let first = node.sockets()?.len();
        ask(stream.try_clone()?)?;
        Ok([first, node.sockets()?.len()])
    })?;
    server.join()?;
    assert_eq!(entered, [1, 0], "in the sockhash at first, and after an exchange");
    let now = node.counters(&a)?;
    assert_eq!(now.not_paired.unanswered - before.not_paired.unanswered, 1);
    // Then it has all of TCP again: only what was sent before the first ACK has passed the program.
    let passed = now.by_tcp.messages - before.by_tcp.messages;
    assert!(passed <= 1 && now.shunted == before.shunted, "{passed} messages, {now:?}");
    // No other address is taken for one.
    let server = answering(&outside, outside.ipv4.into())?;
    a.run(|| ask(Stream::connect((outside.ipv4, PORT), NonBlocking)?))?;
    server.join()?;
    assert_eq!(node.counters(&a)?.not_paired.remote, now.not_paired.remote + 1);
    Ok(())
}
