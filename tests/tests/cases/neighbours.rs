//! Other sock_ops and sk_msg programs, above a pod, at it and below it, attached before shunt's or
//! after: no program may notice.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use std::{
    net::IpAddr,
    thread::sleep,
    time::{Duration, Instant},
};
use tests::{
    cni,
    neighbour::{
        Kind::{self, Callbacks, Sockhash},
        Neighbour,
    },
    node::Node,
    pod::Pod,
    task::PATIENCE,
    trial,
};

use super::{
    Pair, blocked_recv,
    conversation::{Program, ROLES},
    edge, mode,
};
use crate::install::host::talk;

pub fn tests() -> Vec<Trial> {
    let kinds = [("callbacks", Callbacks), ("sockhash", Sockhash)];
    let places = [("above", Place::Above), ("at_pod", Place::Pod), ("below", Place::Below)];
    let all = kinds.into_iter().flat_map(|kind| places.map(|place| (kind, place)));
    let beside = all.map(|((what, kind), (at, place))| {
        let name = format!("cases::neighbours::{what}_{at}");
        trial(&name, move || beside(kind, place))
    });
    beside.chain([trial("cases::neighbours::gone_again", gone_again)]).collect()
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

/// Its connections take the short way when the neighbour is gone.
fn gone_again() -> Result<()> {
    let node = Node::new("gone")?;
    let pods = [node.pod("server")?, node.pod("client")?];
    let overruled = || -> Result<u64> {
        let counters = [node.counters(&pods[0])?, node.counters(&pods[1])?];
        Ok(counters.iter().map(|it| it.to_tcp.overruled + it.not_paired.overruled).sum())
    };
    let neighbour = Neighbour::attach(Callbacks, &node.cgroup)?;
    talk(&pods[1], &pods[0])?;
    talk(&pods[1], &pods[0])?;
    ensure!(overruled()? > 1, "{:?}", node.counters(&pods[1])?);
    drop(neighbour);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let before = (overruled()?, node.counters(&pods[1])?.shunted.messages);
        talk(&pods[1], &pods[0])?;
        let after = (overruled()?, node.counters(&pods[1])?.shunted.messages);
        if after.0 == before.0 && after.1 > before.1 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "overruled for ever: {:?}", node.counters(&pods[1])?);
        sleep(Duration::from_millis(500));
    }
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
