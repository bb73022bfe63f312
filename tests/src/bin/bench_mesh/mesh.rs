//! Two applications, and the proxies between them.

use crate::{
    load::{self, Measured},
    part::Part,
};
use anyhow::{Context as _, Result, ensure};
use std::{
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
    path::Path,
    time::Duration,
};
use tests::{
    ambient, envoy,
    node::Node,
    pod::{Pod, PodSpec},
    relay::{Relay, Routes},
    server::Server,
    task::{PATIENCE, Process, Task},
    traffic::PORT,
    waypoint,
};

const SERVICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 10), 80);
/// What Envoy is to parse as HTTP.
const NO_PORT: &[u16] = &[1];

/// What is between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// An Envoy in each pod
    Sidecar,
    /// The node's relay, twice: at the client and at the server
    L4,
    /// The node's relay and a waypoint
    Waypoint,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Sidecar, Kind::L4, Kind::Waypoint];

    /// Names of [`Mesh`]'s parts.
    pub fn parts(self) -> &'static [&'static str] {
        match self {
            Kind::Sidecar => &["client", "server", "sidecars"],
            Kind::L4 => &["client", "server", "relay"],
            Kind::Waypoint => &["client", "server", "relay", "waypoint"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Kind::Sidecar => "sidecar",
            Kind::L4 => "l4",
            Kind::Waypoint => "waypoint",
        })
    }
}

/// Programs are ended before their pods.
pub struct Mesh<'n> {
    _server: Task<()>,
    relay: Option<Relay>,
    envoys: Vec<Process>,
    to: SocketAddrV4,
    parts: Vec<Part>,
    /// The client's and the server's, then those of proxies.
    pods: Vec<Pod>,
    shunt: bool,
    node: &'n Node,
}

impl<'n> Mesh<'n> {
    /// # Errors
    /// A part cannot be made or does not start.
    pub fn new(node: &'n Node, kind: Option<Kind>, shunt: bool, envoy: &Path) -> Result<Self> {
        let pod = |name| {
            let mut spec = PodSpec::new(name);
            (spec.shunt, spec.redirect) = (shunt, kind == Some(Kind::Sidecar));
            spec.conf.insert("trustedPrograms".into(), trusted()?);
            node.pod_with(spec).context(name)
        };
        let (client, server) = (pod("client")?, pod("server")?);
        let mut mesh = Self {
            _server: Server { threads: 1, ..Server::echo(PORT) }.start(&server, 0)?,
            relay: None,
            envoys: Vec::new(),
            to: SocketAddrV4::new(server.ipv4, PORT),
            parts: vec![own(&client), own(&server)],
            pods: vec![client, server],
            shunt,
            node,
        };
        match kind {
            None => {}
            Some(Kind::Sidecar) => mesh.accompany(envoy)?,
            Some(Kind::L4) => mesh.enrol(pod("ztunnel")?)?,
            Some(Kind::Waypoint) => {
                mesh.enrol_by_waypoint(pod("ztunnel")?, pod("waypoint")?, envoy)?
            }
        }
        Ok(mesh)
    }

    fn accompany(&mut self, envoy: &Path) -> Result<()> {
        for pod in &self.pods {
            self.envoys.push(envoy::start(envoy, pod, NO_PORT, &self.node.dir)?);
        }
        let sidecars = self.pods.iter().map(|pod| pod.container(envoy::CONTAINER));
        self.parts.push(Part(sidecars.collect()));
        Ok(())
    }

    fn enrol(&mut self, proxy: Pod) -> Result<()> {
        self.capture(
            proxy,
            2,
            &Routes { services: [(SERVICE, self.to)].into(), ..Routes::default() },
        )
    }

    fn enrol_by_waypoint(&mut self, proxy: Pod, waypoint: Pod, envoy: &Path) -> Result<()> {
        self.envoys.push(waypoint::start(envoy, &waypoint, &self.node.dir)?);
        let (services, waypoints) =
            ([(SERVICE, self.to)].into(), [(SERVICE, waypoint.ipv4)].into());
        // What a waypoint connects to is not captured again.
        self.capture(proxy, 1, &Routes { services, waypoints })?;
        self.parts.push(Part(vec![waypoint.container(envoy::CONTAINER)]));
        self.pods.push(waypoint);
        Ok(())
    }

    /// So many of the applications' pods.
    fn capture(&mut self, proxy: Pod, count: usize, routes: &Routes) -> Result<()> {
        let relay = Relay::start(&proxy, routes)?;
        for pod in &self.pods[..count] {
            relay.enrol(pod)?;
            ambient::enrol(pod)?;
        }
        self.to = SERVICE;
        self.relay = Some(relay);
        self.parts.push(own(&proxy));
        self.pods.push(proxy);
        Ok(())
    }

    /// # Errors
    /// As [`load::run`].
    pub fn load(&self, connections: usize, rate: Option<u32>, time: Duration) -> Result<Measured> {
        let (node, parts) = (&self.node.cgroup, &self.parts);
        let task =
            self.pods[0].spawn(|| load::run(self.to, connections, rate, time, node, parts))?;
        task.join_within(time + PATIENCE)
    }

    /// What was measured is what it is to be.
    ///
    /// # Errors
    /// shunt is in the chain, and the client has not sent a byte the short way.
    pub fn check(&self) -> Result<()> {
        if self.shunt {
            let counters = self.node.counters(&self.pods[0])?;
            ensure!(counters.shunted.bytes > 0, "nothing went the short way: {counters:?}");
        }
        Ok(())
    }
}

/// What runs in the pod but for its Envoy.
fn own(pod: &Pod) -> Part {
    Part(vec![pod.container(&pod.container_id)])
}
/// By name, so that a measurement does not begin with strangers.
fn trusted() -> Result<serde_json::Value> {
    let own = std::fs::read_to_string("/proc/self/comm")?;
    Ok(serde_json::json!([own.trim_end(), "ztunnel", "envoy"]))
}
