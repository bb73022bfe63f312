//! What the relay does with what it has captured: ztunnel's rules, with a table in the control plane's
//! place.

use super::{
    Order, Routes,
    carrier::{Carrier, Ledger},
    hbone,
    netns::{self, Netns},
};
use crate::{
    ambient::HBONE,
    istio::{INBOUND, OUTBOUND},
    leg::Leg,
};
use anyhow::{Context as _, Result};
use bytes::Bytes;
use h2::client::SendRequest;
use std::{
    cell::RefCell,
    collections::HashMap,
    net::{Ipv4Addr, SocketAddrV4},
    os::unix,
    rc::Rc,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional},
    net::{TcpStream, UnixStream},
    runtime,
    task::{JoinSet, LocalSet},
};

/// A pod that is served. What runs for it ends with it.
struct Workload {
    netns: Netns,
    accepts: RefCell<JoinSet<()>>,
    connections: RefCell<JoinSet<()>>,
    /// Connections to others that carry streams.
    pool: RefCell<HashMap<SocketAddrV4, SendRequest<Bytes>>>,
}

#[derive(Default)]
struct Proxy {
    routes: Routes,
    workloads: RefCell<HashMap<Ipv4Addr, Rc<Workload>>>,
    ledger: Ledger,
}

/// Until it is told to end, or nobody is there any more to tell it.
pub fn run(orders: unix::net::UnixStream, routes: Routes) -> Result<Vec<Leg>> {
    orders.set_nonblocking(true)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let proxy = Rc::new(Proxy { routes, ..Proxy::default() });
        let mut orders = BufReader::new(UnixStream::from_std(orders)?);
        let mut line = String::new();
        while orders.read_line(&mut line).await? > 0 {
            let order = serde_json::from_str(&line)?;
            let is_last = matches!(order, Order::End);
            let answer = match proxy.obey(order).await {
                Ok(()) => "done\n".to_owned(),
                Err(error) => format!("{error:#}\n"),
            };
            orders.write_all(answer.as_bytes()).await?;
            if is_last {
                break;
            }
            line.clear();
        }
        Ok(proxy.ledger.take())
    })
}

impl Proxy {
    async fn obey(self: &Rc<Self>, order: Order) -> Result<()> {
        match order {
            Order::Enrol { netns, ip } => {
                let workload = Rc::new(Workload {
                    netns: Netns::open(&netns)?,
                    accepts: RefCell::default(),
                    connections: RefCell::default(),
                    pool: RefCell::default(),
                });
                for port in [OUTBOUND, INBOUND, HBONE] {
                    self.listen(&workload, port).with_context(|| format!("{ip}:{port}"))?;
                }
                self.workloads.borrow_mut().insert(ip, workload);
            }
            Order::Release { ip } => {
                let gone = self.workloads.borrow_mut().remove(&ip);
                if let Some(workload) = gone {
                    workload.end().await;
                }
            }
            Order::Drain => {
                let all: Vec<_> = self.workloads.borrow().values().cloned().collect();
                for workload in all {
                    workload.accepts.take().shutdown().await;
                }
            }
            // With the last of them the ledger is complete.
            Order::End => {
                for workload in self.workloads.take().into_values() {
                    workload.end().await;
                }
            }
        }
        Ok(())
    }

    fn listen(self: &Rc<Self>, workload: &Rc<Workload>, port: u16) -> Result<()> {
        let listener = workload.netns.listen(port)?;
        let (proxy, at) = (self.clone(), workload.clone());
        workload.accepts.borrow_mut().spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (proxy, at) = (proxy.clone(), at.clone());
                let connections = at.clone();
                connections.serve(async move {
                    stream.set_nodelay(true)?;
                    match port {
                        OUTBOUND => proxy.outbound(&at, stream).await,
                        INBOUND => proxy.inbound(&at, stream).await,
                        _ => proxy.streams(&at, stream).await,
                    }
                });
            }
        });
        Ok(())
    }

    /// An application of this pod wants to go somewhere.
    async fn outbound(&self, at: &Rc<Workload>, stream: TcpStream) -> Result<()> {
        let dialled = netns::destination(&stream)?.context("it wants to come here")?;
        let mut down = self.carrier("application to relay", stream);
        let to = *self.routes.services.get(&dialled).unwrap_or(&dialled);
        let waypoint = self.routes.waypoints.get(&dialled);
        let is_served = self.workloads.borrow().contains_key(to.ip());
        let (leg, by) = match waypoint {
            Some(waypoint) => ("relay to waypoint", *waypoint),
            None if is_served => ("relay to relay", *to.ip()),
            None => {
                let mut up = self.carrier("relay to outside", at.netns.connect(None, to).await?);
                return Ok(copy_bidirectional(&mut down, &mut up).await.map(drop)?);
            }
        };
        let pooled = self.pooled(at, leg, SocketAddrV4::new(by, HBONE)).await?;
        hbone::carry(down, hbone::open(pooled, to).await?).await
    }

    /// Somebody without a relay wants to come to this pod.
    async fn inbound(&self, at: &Rc<Workload>, stream: TcpStream) -> Result<()> {
        let to = netns::destination(&stream)?.context("it is for the relay itself")?;
        let from = netns::source(&stream)?;
        let mut down = self.carrier("plain to relay", stream);
        let up = at.netns.connect(Some(from), to).await?;
        let mut up = self.carrier("relay to application", up);
        Ok(copy_bidirectional(&mut down, &mut up).await.map(drop)?)
    }

    /// Another relay comes with streams for this pod.
    async fn streams(self: &Rc<Self>, at: &Rc<Workload>, stream: TcpStream) -> Result<()> {
        let from = netns::source(&stream)?;
        let mut peer = hbone::server(self.carrier("relay from relay", stream)).await?;
        while let Some(request) = peer.accept().await {
            let (to, asked) = hbone::asked(request?)?;
            let (proxy, there) = (self.clone(), at.clone());
            at.serve(async move {
                let Ok(stream) = there.netns.connect(Some(from), to).await else {
                    return asked.refuse();
                };
                hbone::carry(proxy.carrier("relay to application", stream), asked.accept()?).await
            });
        }
        Ok(())
    }

    async fn pooled(
        &self,
        at: &Rc<Workload>,
        leg: &'static str,
        to: SocketAddrV4,
    ) -> Result<SendRequest<Bytes>> {
        let known = at.pool.borrow().get(&to).cloned();
        if let Some(known) = known
            && let Ok(known) = known.ready().await
        {
            return Ok(known);
        }
        let stream = at.netns.connect(None, to).await?;
        let (sender, connection) = hbone::client(self.carrier(leg, stream)).await?;
        at.serve(async move { Ok(connection.await?) });
        at.pool.borrow_mut().insert(to, sender.clone());
        Ok(sender)
    }

    fn carrier(&self, leg: &'static str, stream: TcpStream) -> Carrier {
        Carrier::new(leg, stream, &self.ledger)
    }
}

impl Workload {
    async fn end(&self) {
        self.accepts.take().shutdown().await;
        self.connections.take().shutdown().await;
    }

    /// An error ends the one connection, as its peers then see.
    fn serve(&self, does: impl Future<Output = Result<()>> + 'static) {
        let mut connections = self.connections.borrow_mut();
        while connections.try_join_next().is_some() {}
        connections.spawn_local(async move {
            let _ = does.await;
        });
    }
}
