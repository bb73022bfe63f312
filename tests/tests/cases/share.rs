//! SHARE, by which an operator knows what shunt gives: of all bytes between local sockets of a pod.

use anyhow::{Result, ensure};
use tests::{
    node::Node,
    pod::PodSpec,
    task::Signal,
    traffic::{
        Mode::{Blocking, NonBlocking},
        PORT, Pattern, Stream, converse, exchange, listen,
    },
};

use crate::{
    operate::{call, until},
    sidecar,
};

const PATTERNS: [Pattern; 2] = [Pattern { seed: 45 }, Pattern { seed: 46 }];

/// Applications that sleep in recv(2), with sidecars that do not block: of three hops only the one
/// between the sidecars is for the short way, and each pod sends as much on every hop.
pub fn counts_what_stays_tcp() -> Result<()> {
    const CONNECTIONS: u64 = 4;
    const TIMES: u64 = 100;
    let node = Node::new("share")?;
    let pod = |name| {
        let mut spec = PodSpec::new(name).annotate("sidecar.istio.io/status", "{}");
        spec.redirect = true;
        node.pod_with(spec)
    };
    let (a, b) = (pod("a")?, pod("b")?);
    let _sidecars = [sidecar::start(&a)?, sidecar::start(&b)?];
    for _ in 0..CONNECTIONS {
        let ask = |mut stream| exchange(&mut stream, PATTERNS, true, 1000, TIMES);
        let [mine, other] = PATTERNS;
        let answer = |mut stream| exchange(&mut stream, [other, mine], false, 1000, TIMES);
        converse((&b, &a), b.ipv4.into(), Blocking, answer, ask)?;
    }
    let status = call(&node, "status", &[])?.json;
    for pod in status["pods"].as_array().into_iter().flatten() {
        let shunted = pod["counters"]["shunted"]["bytes"].as_f64().unwrap_or(0.0);
        let right = shunted / (3 * CONNECTIONS * TIMES * 1000) as f64;
        let share = pod["share"].as_f64().unwrap_or(0.0);
        ensure!(
            right > 0.2 && (share - right).abs() < 0.02,
            "{right} is right, {share} said: {pod}"
        );
    }
    ensure!(status["pods"][1].is_object(), "two pods: {status}");
    Ok(())
}

/// What is sent comes to the pod's counters now and then, and whole when the connection ends.
pub fn is_right_while_a_connection_is_open() -> Result<()> {
    const TIMES: u64 = 5000;
    const SIZE: usize = 100;
    let node = Node::new("open")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let [listening, done, end] = [(); 3].map(|()| Signal::new());
    let (listening, done, end) = (listening?, done?, end?);
    let server = b.spawn(|| {
        let listener = listen((b.ipv4, PORT), NonBlocking)?;
        listening.raise()?;
        let [mine, other] = PATTERNS;
        let mut stream = Stream::accept(&listener, NonBlocking)?;
        exchange(&mut stream, [other, mine], false, SIZE, TIMES)?;
        end.wait()
    })?;
    listening.wait()?;
    let client = a.spawn(|| {
        let mut stream = Stream::connect((b.ipv4, PORT), NonBlocking)?;
        exchange(&mut stream, PATTERNS, true, SIZE, TIMES)?;
        done.raise()?;
        end.wait()
    })?;
    done.wait()?;
    for pod in [&a, &b] {
        let counters = node.counters(pod)?;
        let sent = counters.shunted.messages + counters.by_tcp.messages;
        ensure!((TIMES - 64..=TIMES).contains(&sent), "{counters:?}");
        ensure!(counters.shunted.messages > TIMES * 9 / 10, "{counters:?}");
    }
    end.raise()?;
    end.raise()?;
    server.join()?;
    client.join()?;
    for pod in [&a, &b] {
        until("all of it is counted", || {
            let counters = node.counters(pod)?;
            let messages = counters.shunted.messages + counters.by_tcp.messages;
            let bytes = counters.shunted.bytes + counters.by_tcp.bytes;
            Ok((messages, bytes) == (TIMES, TIMES * SIZE as u64))
        })?;
    }
    Ok(())
}
