//! Two pods of a mesh: an application and who calls it, each with its sidecar.

use crate::{
    envoy, http,
    latency::Measured,
    load::Load,
    neighbour::textbook::Textbook,
    node::Node,
    pod::{Pod, PodSpec},
    server::Server,
    task::{PATIENCE, Process, Task},
    traffic::Mode::{Blocking, NonBlocking},
    wrk,
};
use anyhow::{Context, Result};
use std::{fmt, net::SocketAddr, path::Path, time::Duration};

/// An ordinary user, other than the sidecar's.
pub const UID: u32 = 1000;
const ECHO: u16 = 9000;
const BLOCKING_ECHO: u16 = 9001;
pub const HTTP: u16 = 8080;

/// Without shunt, or with it, or with what every other accelerator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    Off,
    On,
    Textbook,
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Half::Off => "off",
            Half::On => "on ",
            Half::Textbook => "textbook",
        })
    }
}

/// Fresh pods and sidecars, so that no pooled connection is older. Servers and sidecars are ended
/// before their pods.
pub struct Sidecars {
    _servers: [Task<()>; 3],
    _sidecars: [Process; 2],
    /// Where it is that half.
    pub textbook: Option<Textbook>,
    pub app: Pod,
    pub load: Pod,
}

impl Sidecars {
    /// Connections to [`HTTP`] and `others` are parsed as HTTP.
    ///
    /// # Errors
    /// A part cannot be made or does not start.
    pub fn new(node: &Node, half: Half, envoy: &Path, others: &[u16]) -> Result<Self> {
        let pod = |name| {
            let mut spec = PodSpec::new(name).annotate("sidecar.istio.io/status", "{}");
            (spec.shunt, spec.redirect) = (half == Half::On, true);
            node.pod_with(spec).context(name)
        };
        let (app, load) = (pod("app")?, pod("load")?);
        let textbook = match half {
            Half::Textbook => Some(Textbook::attach(&[&app.cgroup, &load.cgroup])?),
            Half::Off | Half::On => None,
        };
        let ports = [&[HTTP], others].concat();
        Ok(Self {
            _servers: [
                Server::echo(ECHO).start(&app, UID)?,
                Server { mode: Blocking, ..Server::echo(BLOCKING_ECHO) }.start(&app, UID)?,
                Server { protocol: http::answer, ..Server::echo(HTTP) }.start(&app, UID)?,
            ],
            _sidecars: [
                envoy::start(envoy, &app, &ports, &node.dir)?,
                envoy::start(envoy, &load, &ports, &node.dir)?,
            ],
            textbook,
            app,
            load,
        })
    }

    /// The TCP load.
    ///
    /// # Errors
    /// As [`Load::run`].
    pub fn tcp(&self, node: &Node, load: Load) -> Result<Measured> {
        let port = if load.mode == NonBlocking { ECHO } else { BLOCKING_ECHO };
        let to = SocketAddr::from((self.app.ipv4, port));
        let task = self.load.spawn_as(UID, || load.run(to, &node.cgroup))?;
        task.join_within(load.time + PATIENCE).context("TCP load")
    }

    /// The HTTP load, see [`wrk::run`].
    ///
    /// # Errors
    /// As [`wrk::run`] and [`http::check`].
    pub fn http(
        &self,
        node: &Node,
        connections: usize,
        size: usize,
        time: Duration,
    ) -> Result<Measured> {
        let to = SocketAddr::from((self.app.ipv4, HTTP));
        let measured = wrk::run((node, &self.load, UID), to, connections, size, time);
        let measured = measured.context("HTTP load")?;
        self.load.spawn_as(UID, || http::check(to))?.join().context("HTTP check")?;
        Ok(measured)
    }
}
