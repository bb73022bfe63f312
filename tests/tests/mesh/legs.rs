//! Each connection of a mesh on one node takes the short way, and none that leaves the node.

use super::{SERVICE, ask, enrol, serve};
use crate::{
    operate::{call, net_d},
    scale::scaled,
};
use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::json;
use std::{env, net::SocketAddrV4, thread::sleep};
use tests::{
    ambient,
    leg::Leg,
    node::Node,
    pod::Pod,
    relay::{Relay, Routes},
    task::PATIENCE,
    traffic::PORT,
    waypoint,
};

/// Enough that what goes by TCP before it is known how a program reads does not count.
fn exchanges() -> u64 {
    scaled(400).max(100)
}

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

const LEGS: [&str; 10] = [
    "client",
    "application to relay",
    "relay to relay",
    "relay from relay",
    "relay to application",
    "server",
    "plain client",
    "plain to relay",
    "relay to waypoint",
    "waypoint to application",
];

pub fn each_leg_takes_the_short_way() -> Result<()> {
    let node = Node::learning("legs")?;
    // What is counted is TCP's, where there is nothing else, but for a last message that is not acknowledged yet.
    let [by_tcp] = talks(&node, &Mesh::new(&node, Node::outside)?)?;
    let is_tcp =
        |leg: &Leg| leg.shares().iter().all(|share| share.abs() < 2.0 / exchanges() as f64);
    ensure!(by_tcp.iter().all(is_tcp), "without shunt: {}", told(&by_tcp));
    // Strangers first.
    let [_, legs] = talks(&node, &Mesh::new(&node, Node::pod)?)?;
    ensure!(legs.iter().all(by_short_way), "{}", told(&legs));
    Ok(())
}

/// Each with a relay of its own; how the bytes of each leg went.
fn talks<const N: usize>(node: &Node, mesh: &Mesh) -> Result<[[Leg; LEGS.len()]; N]> {
    let envoy = env::var_os("ENVOY").context("ENVOY says where it is")?;
    let _waypoint = waypoint::start(envoy.as_ref(), &mesh.waypoint, &node.dir)?;
    let mut talks = Vec::new();
    for _ in 0..N {
        let legs = mesh.talk()?;
        talks.push(LEGS.map(|name| Leg::sum(&legs, name)));
    }
    talks.try_into().map_err(|_| anyhow!("as many as were asked for"))
}

/// The proxy, its listeners in the applications' network namespaces and the pods were there before shunt.
pub fn a_proxy_older_than_shunt() -> Result<()> {
    let mut node = Node::learning("older_proxy")?;
    node.conf.insert("trustedPrograms".into(), json!(["ztunnel"]));
    let [proxy, client, server] =
        [node.outside("ztunnel")?, node.outside("client")?, node.outside("server")?];
    let to = SocketAddrV4::new(server.ipv4, PORT);
    let routes = Routes { services: [(SERVICE, to)].into(), ..Routes::default() };
    let relay = Relay::start(&proxy, &routes)?;
    // Nothing runs in the others, but their sockets are asked for by the proxy.
    let _idle = [client.spawn(sleep_long)?, server.spawn(sleep_long)?];
    for pod in [&client, &server] {
        enrol(pod, &[&relay])?;
    }
    let args = net_d(&node)?;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let adopted = call(&node, "adopt", &args)?;
    let of_proxy = adopted.lines.iter().find(|pod| pod["uid"] == proxy.uid).context("the proxy")?;
    // Three ports in each of two pods.
    ensure!(of_proxy["listeners"] == 6, "{adopted:?}");
    let talk = || -> Result<Vec<Leg>> {
        let serving = serve(&server, "server", exchanges())?;
        let asked = ask(&client, SERVICE, "client", exchanges())?;
        Ok([asked, serving.join()?].concat())
    };
    talk().context("while the applications are strangers")?;
    let legs = talk()?;
    let sums = ["client", "server"].map(|name| Leg::sum(&legs, name));
    ensure!(sums.iter().all(by_short_way), "{}", told(&sums));
    let legs = relay.end()?;
    // Between relays from the first byte on.
    let sums = ["relay to relay", "relay from relay"].map(|name| Leg::sum(&legs, name));
    ensure!(sums.iter().all(by_short_way), "{}", told(&sums));
    Ok(())
}

fn sleep_long() -> Result<()> {
    sleep(PATIENCE);
    Ok(())
}

fn by_short_way(leg: &Leg) -> bool {
    leg.shares().iter().all(|share| *share >= 0.95)
}

fn told(legs: &[Leg]) -> String {
    legs.iter().map(|leg| format!("\n{:.3?} {leg:?}", leg.shares())).collect()
}

impl Mesh {
    fn new(node: &Node, pod: fn(&Node, &str) -> Result<Pod>) -> Result<Self> {
        let pod = |name| pod(node, name);
        Ok(Self {
            proxy: pod("ztunnel")?,
            client: pod("client")?,
            server: pod("server")?,
            plain: pod("plain")?,
            behind: pod("behind")?,
            waypoint: pod("waypoint")?,
        })
    }

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
            let task = serve(to, ends[1], exchanges())?;
            legs.extend(ask(from, via, ends[0], exchanges()).with_context(|| ends.join(" to "))?);
            legs.extend(task.join()?);
        }
        legs.extend(relay.end()?);
        for pod in [client, server] {
            ambient::release(pod)?;
        }
        Ok(legs)
    }
}
