//! Where a program acts: a connection between two pods, both ends of it in one process's hands.

use anyhow::{Context, Result, ensure};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::{Mutex, PoisonError},
};
use tests::{
    node::Node,
    pod::Pod,
    traffic::{Mode, Stream, listen},
};

use super::end::End;

/// In the error of a connection that should be accelerated.
pub const NOT_ACCELERATED: &str = "is not accelerated";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Between pods that shunt never heard of.
    Plain,
    /// Accelerated, and nothing was sent yet. In blocking mode shunt leaves it to TCP.
    Fresh,
    /// Both directions take the short way. In blocking mode it was put into that after it did.
    Warm,
}

/// Two accelerated pods, and two that shunt never heard of.
pub struct Pods {
    pub shunted: [Pod; 2],
    pub plain: [Pod; 2],
    // Dropped last.
    pub node: Node,
}

impl Pods {
    fn new() -> Result<Self> {
        let node = Node::new("semantics")?;
        let shunted = [node.pod("a")?, node.pod("b")?];
        let plain = [node.outside("c")?, node.outside("d")?];
        Ok(Self { shunted, plain, node })
    }
}

/// What both pods' counters say.
#[derive(Debug)]
struct Counted {
    paired: u64,
    shunted: [u64; 2],
}

/// The rows' pods: made for the first, and gone with the last.
#[derive(Default)]
pub struct Shared(Mutex<Option<Pods>>);

impl Shared {
    /// Once more with new pods, where what the rows before did has kept these from acceleration.
    pub fn with<T>(&self, act: impl Fn(&Pods) -> Result<T>) -> Result<T> {
        let mut pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pods.is_none() {
            *pods = Some(Pods::new()?);
        }
        let pods = pods.as_mut().context("just made")?;
        match act(pods) {
            Err(error) if error.to_string().contains(NOT_ACCELERATED) => {
                pods.shunted = [pods.node.pod("a")?, pods.node.pod("b")?];
                act(pods)
            }
            done => done,
        }
    }
}

#[derive(Clone, Copy)]
pub struct Setting<'a> {
    pub pods: &'a Pods,
    pub way: Way,
    pub blocking: bool,
    /// Else the server.
    pub client_acts: bool,
}

/// `a` acts, and `b` is its peer.
pub struct Scene<'a> {
    pub a: End,
    pub b: End,
    pub at: Setting<'a>,
}

impl<'a> Setting<'a> {
    pub fn scene(self) -> Result<Scene<'a>> {
        let [a, b] = self.connect()?;
        Ok(Scene { a, b, at: self })
    }

    pub fn client(&self) -> &'a Pod {
        &self.both()[0]
    }

    pub fn server(&self) -> &'a Pod {
        &self.both()[1]
    }

    fn both(&self) -> &'a [Pod; 2] {
        if self.way == Way::Plain { &self.pods.plain } else { &self.pods.shunted }
    }

    /// The mode of sockets when they are made.
    pub fn mode(&self) -> Mode {
        if self.blocking && self.way != Way::Warm { Mode::Blocking } else { Mode::NonBlocking }
    }

    /// Leaves this process in the server's pod.
    pub fn listen(&self) -> Result<TcpListener> {
        self.server().enter()?;
        Ok(listen((self.server().ipv4, 0), self.mode())?)
    }

    /// Leaves this process in the client's pod.
    pub fn dial(&self, to: SocketAddr) -> Result<End> {
        self.client().enter()?;
        Ok(End { socket: Stream::connect(to, self.mode())?.socket })
    }

    pub fn accept(&self, listener: &TcpListener) -> Result<End> {
        Ok(End { socket: Stream::accept(listener, self.mode())?.socket })
    }

    /// Another connection: who acts, and its peer.
    pub fn connect(&self) -> Result<[End; 2]> {
        let before = self.counted()?;
        let listener = self.listen()?;
        let client = self.dial(listener.local_addr()?)?;
        let mut ends = [client, self.accept(&listener)?];
        if !self.client_acts {
            ends.reverse();
        }
        let after = self.counted()?;
        match (self.way, self.mode()) {
            (Way::Plain, _) => (),
            (_, Mode::NonBlocking) => {
                ensure!(after.paired == before.paired + 2, "{NOT_ACCELERATED}: {after:?}");
            }
            _ => ensure!(after.paired == before.paired, "it is accelerated"),
        }
        if self.way == Way::Warm {
            self.warm_up(&ends)?;
            for end in &ends {
                end.socket.set_nonblocking(!self.blocking)?;
            }
        }
        Ok(ends)
    }

    /// Messages that each pod has sent the short way.
    pub fn shunted(&self) -> Result<[u64; 2]> {
        Ok(self.counted()?.shunted)
    }

    /// Both pods have sent by the short way, unless it is all plain TCP.
    pub fn has_shunted_since(&self, before: [u64; 2]) -> Result<()> {
        let now = self.shunted()?;
        let all = now.iter().zip(before).all(|(now, before)| *now > before);
        ensure!(all || self.way == Way::Plain, "{NOT_ACCELERATED}: {before:?}, {now:?}");
        Ok(())
    }

    fn counted(&self) -> Result<Counted> {
        let [a, b] = self.pods.shunted.each_ref().map(|pod| self.pods.node.counters(pod));
        let (a, b) = (a?, b?);
        Ok(Counted {
            paired: a.paired + b.paired,
            shunted: [a.shunted.messages, b.shunted.messages],
        })
    }

    /// Ten exchanges each way, the last of them on the short way.
    fn warm_up(&self, ends: &[End; 2]) -> Result<()> {
        let [a, b] = ends.each_ref().map(|end| end.socket.try_clone().map(Stream::from));
        let (mut a, mut b) = (a?, b?);
        let mut before = self.counted()?;
        for turn in 0..10 {
            before = self.counted()?;
            a.write_all(&[turn; 100])?;
            b.read_exact(&mut [0; 100])?;
            b.write_all(&[turn; 100])?;
            a.read_exact(&mut [0; 100])?;
        }
        let shunted = self.counted()?.shunted;
        ensure!(shunted == before.shunted.map(|n| n + 1), "{NOT_ACCELERATED}: {shunted:?}");
        Ok(())
    }
}
