//! Other sock_ops and sk_msg programs, above a pod, at it and below it, attached before shunt's or
//! after: no program may notice.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use std::net::IpAddr;
use tests::{
    cni,
    neighbour::{
        Kind::{self, Callbacks, Sockhash},
        Neighbour,
    },
    node::Node,
    pod::Pod,
    trial,
};

use super::{
    Pair, blocked_recv,
    conversation::{Program, ROLES},
    edge, mode,
};

pub fn tests() -> Vec<Trial> {
    let kinds = [("callbacks", Callbacks), ("sockhash", Sockhash)];
    let places = [("above", Place::Above), ("at_pod", Place::Pod), ("below", Place::Below)];
    let all = kinds.into_iter().flat_map(|kind| places.map(|place| (kind, place)));
    all.map(|((what, kind), (at, place))| {
        let name = format!("cases::neighbours::{what}_{at}");
        trial(&name, move || beside(kind, place))
    })
    .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Above,
    Pod,
    Below,
}

/// What a neighbour that is alone leaves right: a sockhash of any kind breaks sleepers.
fn programs(kind: Kind) -> &'static [&'static Program] {
    match kind {
        Callbacks => &[&blocked_recv::GUNICORN, &edge::BURSTS, &mode::EVENTS],
        Sockhash => &[&edge::BURSTS, &mode::EVENTS],
    }
}

fn beside(kind: Kind, place: Place) -> Result<()> {
    let node = Node::learning("beside")?;
    for (program, role) in programs(kind).iter().flat_map(|it| ROLES.map(|role| (it, role))) {
        let see = |[server, client]: &[Pod; 2]| role(program, &Pair { server, client });
        let plain = see(&[node.outside("server")?, node.outside("client")?])?;
        for (order, before) in [("before", true), ("after", false)] {
            let (pods, _neighbours) = pods(&node, kind, place, before)?;
            let seen = see(&pods)?;
            ensure!(plain == seen, "by plain TCP: {plain:?}\nattached {order} shunt: {seen:?}");
        }
    }
    Ok(())
}

fn pods(node: &Node, kind: Kind, place: Place, before: bool) -> Result<([Pod; 2], Vec<Neighbour>)> {
    let mut neighbours = Vec::new();
    if place == Place::Above && before {
        neighbours.push(Neighbour::attach(kind, &node.cgroup)?);
    }
    let mut pods = [node.pod("server")?, node.pod("client")?];
    if place == Place::Above && !before {
        neighbours.push(Neighbour::attach(kind, &node.cgroup)?);
    }
    if place != Place::Above {
        for pod in &mut pods {
            let container = pod.cgroup.join(&pod.container_id);
            let cgroup = if place == Place::Pod { &pod.cgroup } else { &container };
            neighbours.push(Neighbour::attach(kind, cgroup)?);
            if before {
                add_again(pod)?;
            }
        }
    }
    Ok((pods, neighbours))
}

/// A pod's cgroup is there before it is added, but only once it was made.
fn add_again(pod: &mut Pod) -> Result<()> {
    pod.chain.del(&pod.call, Some(&pod.result))?;
    pod.result = pod.chain.add(&pod.call)?;
    for ip in cni::ips(&pod.result)? {
        match ip {
            IpAddr::V4(ip) => pod.ipv4 = ip,
            IpAddr::V6(ip) => pod.ipv6 = ip,
        }
    }
    Ok(())
}
