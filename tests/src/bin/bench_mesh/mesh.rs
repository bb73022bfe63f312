//! Two applications, and the proxies between them.

use crate::{
    echo,
    load::{self, Measured},
};
use anyhow::Result;
use std::{
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
    path::Path,
    time::Duration,
};
use tests::{
    ambient,
    node::Node,
    pod::{Pod, PodSpec},
    relay::{Relay, Routes},
    task::{PATIENCE, Process, Task},
    traffic::PORT,
    waypoint,
};

const SERVICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 10), 80);

/// What is between the two.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Kind {
    /// The node's relay, twice: at the client and at the server
    L4,
    /// The node's relay and a waypoint
    Waypoint,
}

impl Kind {
    pub const ALL: [Kind; 2] = [Kind::L4, Kind::Waypoint];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Kind::L4 => "l4",
            Kind::Waypoint => "waypoint",
        })
    }
}

/// Programs are ended before their pods.
pub struct Mesh {
    _server: Task<()>,
    _relay: Option<Relay>,
    _waypoint: Option<Process>,
    to: SocketAddrV4,
    client: Pod,
    _pods: [Pod; 3],
}

impl Mesh {
    /// # Errors
    /// A part cannot be made or does not start.
    pub fn new(node: &Node, kind: Option<Kind>, shunt: bool, envoy: &Path) -> Result<Self> {
        let pod = |name| {
            let mut spec = PodSpec::new(name);
            spec.shunt = shunt;
            spec.conf.insert("trustedPrograms".into(), trusted()?);
            node.pod_with(spec)
        };
        let [client, server, proxy, waypoint] =
            [pod("client")?, pod("server")?, pod("ztunnel")?, pod("waypoint")?];
        let to = SocketAddrV4::new(server.ipv4, PORT);
        let mut routes = Routes { services: [(SERVICE, to)].into(), ..Routes::default() };
        let mut by = None;
        if let Some(Kind::Waypoint) = kind {
            by = Some(waypoint::start(envoy, &waypoint, &node.dir)?);
            routes.waypoints.insert(SERVICE, waypoint.ipv4);
        }
        let relay = kind.map(|_| Relay::start(&proxy, &routes)).transpose()?;
        if let Some(relay) = &relay {
            // What a waypoint connects to is not captured again.
            let enrolled = if by.is_some() { &[&client][..] } else { &[&client, &server] };
            for pod in enrolled {
                relay.enrol(pod)?;
                ambient::enrol(pod)?;
            }
        }
        Ok(Self {
            _server: echo::start(&server)?,
            _relay: relay,
            _waypoint: by,
            to: if kind.is_some() { SERVICE } else { to },
            client,
            _pods: [server, proxy, waypoint],
        })
    }

    /// # Errors
    /// As [`load::run`].
    pub fn load(&self, connections: usize, rate: Option<u32>, time: Duration) -> Result<Measured> {
        let task = self.client.spawn(|| load::run(self.to, connections, rate, time))?;
        task.join_within(time + PATIENCE)
    }
}

/// By name, so that a measurement does not begin with strangers.
fn trusted() -> Result<serde_json::Value> {
    let own = std::fs::read_to_string("/proc/self/comm")?;
    Ok(serde_json::json!([own.trim_end(), "ztunnel", "envoy"]))
}
