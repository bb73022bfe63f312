//! Connections that a sidecar captures: local, whatever was dialled.

use super::{Count, EXCHANGES, answer, ask};
use crate::sidecar;
use anyhow::{Context as _, Result};
use std::net::IpAddr;
use tests::{
    istio::{self, Capture, ISTIO},
    node::Node,
    pod::{Pod, PodSpec},
    traffic::{Mode::NonBlocking, converse},
};

fn mesh_pod(name: &str) -> PodSpec {
    let mut spec = PodSpec::new(name);
    spec.redirect = true;
    spec
}

/// Application to sidecar, sidecar to sidecar, sidecar to application: three connections.
pub fn redirect_out_and_in() -> Result<()> {
    let node = Node::new("redirect")?;
    let (a, b) = (node.pod_with(mesh_pod("a"))?, node.pod_with(mesh_pod("b"))?);
    for ip in [IpAddr::from(b.ipv4), b.ipv6.into()] {
        let counts = [Count::start(&node, &a)?, Count::start(&node, &b)?];
        through_sidecars(&a, &b, ip)?;
        for count in counts {
            // Per pod: the application's end, and the two ends of its sidecar.
            count.shunted(3, 3 * EXCHANGES).with_context(|| ip.to_string())?;
        }
    }
    Ok(())
}

fn through_sidecars(a: &Pod, b: &Pod, ip: IpAddr) -> Result<()> {
    let _sidecars = [sidecar::start(a)?, sidecar::start(b)?];
    converse((b, a), ip, NonBlocking, answer, ask).map(drop)
}

/// No annotation, port or user id tells that a sidecar captures: its connections themselves do.
pub fn capture_is_seen() -> Result<()> {
    let node = Node::new("captured")?;
    let (a, b) = (node.pod_with(mesh_pod("a"))?, node.pod_with(mesh_pod("b"))?);
    let outside = node.outside("outside")?;
    let first = Count::start(&node, &a)?;
    // To an address that is not on this node, so that only capture can make it local.
    let _sidecar = sidecar::start(&a)?;
    converse((&outside, &a), outside.ipv4.into(), NonBlocking, answer, ask)?;
    first.shunted(2, 2 * EXCHANGES).context("the first connection")?;
    let second = Count::start(&node, &a)?;
    converse((&outside, &a), outside.ipv4.into(), NonBlocking, answer, ask)?;
    second.shunted(2, 2 * EXCHANGES).context("the second connection")?;
    assert_eq!(node.sockets()?.len(), 0);
    drop(b);
    Ok(())
}

/// By other ports and another user than Istio's, and with TPROXY.
pub fn captures_of_all_kinds() -> Result<()> {
    let node = Node::new("captures")?;
    for how in [
        Capture { uid: 2102, outbound: 4140, inbound: 4143, tproxy: false },
        Capture { tproxy: true, ..ISTIO },
    ] {
        let (a, b) = (node.pod("a")?, node.pod("b")?);
        for pod in [&a, &b] {
            istio::capture(pod, &how)?;
        }
        let counts = [Count::start(&node, &a)?, Count::start(&node, &b)?];
        let _sidecars = [sidecar::start_as(&a, &how)?, sidecar::start_as(&b, &how)?];
        converse((&b, &a), b.ipv4.into(), NonBlocking, answer, ask)
            .with_context(|| format!("{how:?}"))?;
        for count in counts {
            count.shunted(3, 3 * EXCHANGES).with_context(|| format!("{how:?}"))?;
        }
    }
    Ok(())
}
