//! A proxy of the node, of the shape of Istio's ztunnel but for its encryption: a program on tokio, in a
//! pod of its own, that enters the network namespaces of the pods that it is to serve, listens there
//! on 15001, 15006 and 15008, and carries streams to its like by HTTP/2 CONNECT.

mod carrier;
mod hbone;
mod netns;
mod proxy;

use crate::{
    leg::Leg,
    pod::Pod,
    task::{PATIENCE, Task},
};
use anyhow::{Context as _, Result, ensure};
use nix::sys::prctl;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddrV4},
    os::unix::net::UnixStream,
    path::PathBuf,
};

/// What the mesh's control plane tells it.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// A Service's address, and one of its pods'.
    pub services: HashMap<SocketAddrV4, SocketAddrV4>,
    /// What goes by a waypoint, by the address that applications dial: the waypoint's.
    pub waypoints: HashMap<SocketAddrV4, Ipv4Addr>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Order {
    /// Serve that pod from now on.
    Enrol { netns: PathBuf, ip: Ipv4Addr },
    /// Serve it no more; its connections end.
    Release { ip: Ipv4Addr },
    /// Accept nothing more; what there is goes on.
    Drain,
    /// End, and tell of every connection.
    End,
}

/// Runs until it is dropped.
pub struct Relay {
    task: Task<Vec<Leg>>,
    orders: UnixStream,
}

impl Relay {
    /// Starts it in that pod.
    ///
    /// # Errors
    /// The kernel refused to fork.
    pub fn start(pod: &Pod, routes: &Routes) -> Result<Self> {
        let (orders, theirs) = UnixStream::pair()?;
        orders.set_read_timeout(Some(PATIENCE))?;
        let task = pod.spawn(|| {
            prctl::set_name(c"ztunnel")?;
            proxy::run(theirs, routes.clone())
        })?;
        Ok(Self { task, orders })
    }

    /// # Errors
    /// It cannot listen in the pod's network namespace.
    pub fn enrol(&self, pod: &Pod) -> Result<()> {
        self.order(&Order::Enrol { netns: pod.netns.clone(), ip: pod.ipv4 })
    }

    /// # Errors
    /// It has ended.
    pub fn release(&self, pod: &Pod) -> Result<()> {
        self.order(&Order::Release { ip: pod.ipv4 })
    }

    /// # Errors
    /// It has ended.
    pub fn drain(&self) -> Result<()> {
        self.order(&Order::Drain)
    }

    /// Ends it: what was carried.
    ///
    /// # Errors
    /// It has ended before.
    pub fn end(self) -> Result<Vec<Leg>> {
        self.order(&Order::End)?;
        self.task.join()
    }

    fn order(&self, order: &Order) -> Result<()> {
        let mut line = serde_json::to_string(order)?;
        line.push('\n');
        (&self.orders).write_all(line.as_bytes()).context("the relay has ended")?;
        let mut answer = String::new();
        BufReader::new(&self.orders).read_line(&mut answer).context("the relay")?;
        ensure!(answer == "done\n", "the relay, {order:?}: {answer}");
        Ok(())
    }
}
