//! Two pods of a mesh: an application and who calls it, each with its sidecar.

use crate::{
    http, load,
    server::{self, Protocol},
    stats::{Half, Measured},
    wrk,
};
use anyhow::{Context, Result};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};
use tests::{
    envoy,
    neighbour::textbook::Textbook,
    node::Node,
    pod::{Pod, PodSpec},
    task::{PATIENCE, Process, Signal, Task},
    traffic::{
        Mode::{self, Blocking, NonBlocking},
        listen,
    },
};

/// An ordinary user, other than the sidecar's.
const UID: u32 = 1000;
const ECHO: u16 = 9000;
const BLOCKING_ECHO: u16 = 9001;
const HTTP: u16 = 8080;

/// Fresh pods and sidecars, so that no pooled connection is older. Servers and sidecars are ended
/// before their pods.
pub struct Mesh<'n> {
    _servers: [Task<()>; 3],
    _sidecars: [Process; 2],
    _textbook: Option<Textbook>,
    pub app: Pod,
    pub load: Pod,
    node: &'n Node,
}

impl<'n> Mesh<'n> {
    /// # Errors
    /// A part cannot be made or does not start.
    pub fn new(node: &'n Node, half: Half, envoy: &Path) -> Result<Mesh<'n>> {
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
        Ok(Mesh {
            _servers: [
                serve(&app, ECHO, NonBlocking, server::echo)?,
                serve(&app, BLOCKING_ECHO, Blocking, server::echo)?,
                serve(&app, HTTP, NonBlocking, http::answer)?,
            ],
            _sidecars: [
                envoy::start(envoy, &app, HTTP, &node.dir)?,
                envoy::start(envoy, &load, HTTP, &node.dir)?,
            ],
            app,
            load,
            node,
            _textbook: textbook,
        })
    }

    /// The TCP load, for that time.
    ///
    /// # Errors
    /// As [`load::run`].
    pub fn tcp(&self, time: Duration) -> Result<Measured> {
        self.echo(ECHO, NonBlocking, time)
    }

    /// The same with load and server in blocking mode, behind epoll.
    ///
    /// # Errors
    /// As [`load::run`].
    pub fn blocking(&self, time: Duration) -> Result<Measured> {
        self.echo(BLOCKING_ECHO, Blocking, time)
    }

    fn echo(&self, port: u16, mode: Mode, time: Duration) -> Result<Measured> {
        let to = SocketAddr::from((self.app.ipv4, port));
        let task = self.load.spawn_as(UID, || load::run(to, mode, time, &self.node.cgroup))?;
        task.join_within(time + PATIENCE).context("TCP load")
    }

    /// The HTTP load, for that time.
    ///
    /// # Errors
    /// As [`wrk::run`] and [`http::check`].
    pub fn http(&self, time: Duration) -> Result<Measured> {
        let to = SocketAddr::from((self.app.ipv4, HTTP));
        let measured = wrk::run(self.node, &self.load, UID, to, time).context("HTTP load")?;
        self.load.spawn_as(UID, || http::check(to))?.join().context("HTTP check")?;
        Ok(measured)
    }
}

fn serve(pod: &Pod, port: u16, mode: Mode, protocol: Protocol) -> Result<Task<()>> {
    let listening = Signal::new()?;
    let task = pod.spawn_as(UID, || {
        let listener = listen((Ipv4Addr::UNSPECIFIED, port), mode)?;
        listening.raise()?;
        server::serve(&listener, mode, protocol)
    })?;
    listening.wait()?;
    Ok(task)
}
