//! Each connection of a mesh on one node takes the short way, and none that leaves the node.

use super::{SERVICE, ask, enrol, proxy_pod, serve};
use anyhow::{Context as _, Result, ensure};
use std::{env, net::SocketAddrV4};
use tests::{
    leg::Leg,
    node::Node,
    pod::Pod,
    relay::{Relay, Routes},
    traffic::PORT,
    waypoint,
};

/// Enough that what goes by TCP before it is known how a program reads does not count.
const EXCHANGES: u64 = 400;

struct Mesh {
    proxy: Pod,
    client: Pod,
    server: Pod,
    /// Not enrolled, with shunt.
    plain: Pod,
    /// Behind the waypoint, not enrolled.
    behind: Pod,
    waypoint: Pod,
}

pub fn each_leg_takes_the_short_way() -> Result<()> {
    let node = Node::learning("legs")?;
    let mesh = Mesh {
        proxy: proxy_pod(&node)?,
        client: node.pod("client")?,
        server: node.pod("server")?,
        plain: node.pod("plain")?,
        behind: node.pod("behind")?,
        waypoint: node.pod("waypoint")?,
    };
    let envoy = env::var_os("ENVOY").context("ENVOY says where it is")?;
    let _waypoint = waypoint::start(envoy.as_ref(), &mesh.waypoint, &node.dir)?;
    let first = mesh.talk().context("while they are strangers")?;
    ensure!(first.iter().any(|leg| leg.sent > 0), "{first:?}");
    let legs = mesh.talk()?;
    let names = [
        "application to relay",
        "relay to relay",
        "relay from relay",
        "relay to application",
        "plain to relay",
        "relay to waypoint",
        "waypoint to application",
        "client",
        "server",
        "plain client",
    ];
    let sums = names.map(|name| Leg::sum(&legs, name));
    let right = |leg: &Leg| leg.shares().iter().all(|share| *share >= 0.95);
    eprintln!("{}", told(&sums));
    ensure!(sums.iter().all(right), "{}", told(&sums));
    Ok(())
}

fn told(legs: &[Leg]) -> String {
    legs.iter().map(|leg| format!("\n{:.3?} {leg:?}", leg.shares())).collect()
}

impl Mesh {
    /// By a relay of its own: application to application, plain client to application, application to
    /// application by the waypoint.
    fn talk(&self) -> Result<Vec<Leg>> {
        let Self { proxy, client, server, plain, behind, waypoint } = self;
        let at = |pod: &Pod| SocketAddrV4::new(pod.ipv4, PORT);
        let by_waypoint = SocketAddrV4::new(*SERVICE.ip(), 81);
        let routes = Routes {
            services: [(SERVICE, at(server)), (by_waypoint, at(behind))].into(),
            waypoints: [(by_waypoint, waypoint.ipv4)].into(),
        };
        let relay = Relay::start(proxy, &routes)?;
        for pod in [client, server] {
            enrol(pod, &[&relay])?;
        }
        let mut legs = Vec::new();
        for (from, to, via, ends) in [
            (client, server, SERVICE, ["client", "server"]),
            (plain, server, at(server), ["plain client", "server"]),
            (client, behind, by_waypoint, ["client", "waypoint to application"]),
        ] {
            let task = serve(to, ends[1], EXCHANGES)?;
            legs.extend(ask(from, via, ends[0], EXCHANGES).with_context(|| ends.join(" to "))?);
            legs.extend(task.join()?);
        }
        for pod in [client, server] {
            tests::ambient::release(pod)?;
        }
        legs.extend(relay.end()?);
        Ok(legs)
    }
}
