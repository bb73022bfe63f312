//! SHARE, by which an operator knows what shunt gives: of all bytes between local sockets of a pod.

use anyhow::{Result, ensure};
use tests::{
    node::Node,
    pod::PodSpec,
    traffic::{Mode::Blocking, Pattern, converse, exchange},
};

use crate::{operate::call, sidecar};

/// Applications that sleep in recv(2), with sidecars that do not block: of three hops only the one
/// between the sidecars is for the short way, and each pod sends as much on every hop.
pub fn counts_what_stays_tcp() -> Result<()> {
    const CONNECTIONS: u64 = 4;
    const TIMES: u64 = 100;
    const PATTERNS: [Pattern; 2] = [Pattern { seed: 45 }, Pattern { seed: 46 }];
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
