//! Connections one after the other between a program that does something in a way of its own and an
//! event loop: the program as server, and as client.

use anyhow::Result;
use libtest_mimic::Trial;
use nix::sys::{
    pthread::{pthread_kill, pthread_self},
    signal::{SaFlags, Signal::SIGUSR1},
};
use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};
use tests::{
    kernel, mptcp,
    ring::Ring,
    task::{Signal, Task},
    traffic::{
        Mode::{self, NonBlocking},
        PORT, Stream, listen,
    },
};

use super::{
    Pair, patience, same,
    talk::{Does, moment, patient, reads, some, told, writes},
};
use crate::semantics::raw;

pub struct Program {
    name: &'static str,
    /// Of its listener, or of its socket while it connects.
    made: Mode,
    /// Of its connected or accepted socket.
    then: Mode,
    does: Does,
    interrupted: bool,
    mptcp: bool,
    /// Its task has an io_uring before it listens or connects.
    ring: bool,
    /// The first kernel that has what it needs.
    since: (u32, u32),
}

impl Program {
    pub const fn new(name: &'static str, made: Mode, then: Mode, does: Does) -> Self {
        Self {
            name,
            made,
            then,
            does,
            interrupted: false,
            mptcp: false,
            ring: false,
            since: (0, 0),
        }
    }

    /// Gets a signal each 10 ms, whose handler does nothing and restarts no call.
    pub const fn interrupted(self) -> Self {
        Self { interrupted: true, ..self }
    }

    /// Listens and connects by MPTCP, as Go does.
    pub const fn mptcp(self) -> Self {
        Self { mptcp: true, ..self }
    }

    /// Has made its io_uring before its sockets, as programs do that use one.
    pub const fn with_ring(self) -> Self {
        Self { ring: true, ..self }
    }

    pub const fn since(self, major: u32, minor: u32) -> Self {
        Self { since: (major, minor), ..self }
    }

    fn ring(&self) -> Result<Option<Ring>> {
        Ok(if self.ring { Some(Ring::new(patience())?) } else { None })
    }

    fn listen(&self, at: SocketAddr) -> Result<TcpListener> {
        Ok(if self.mptcp { mptcp::listen(at)? } else { listen(at, self.made)? })
    }

    fn connect(&self, to: SocketAddr) -> Result<TcpStream> {
        let stream = if self.mptcp {
            Stream::connect_with(mptcp::socket()?, to)?
        } else {
            Stream::connect(to, self.made)?
        };
        stream.socket.set_nonblocking(self.then == NonBlocking)?;
        Ok(stream.socket)
    }

    /// What it sees of a connection.
    fn run(&self, socket: &TcpStream) -> String {
        let ended = AtomicBool::new(false);
        let by = pthread_self();
        thread::scope(|scope| {
            if self.interrupted && raw::let_interrupt(SIGUSR1, SaFlags::empty()).is_ok() {
                scope.spawn(|| {
                    while !ended.load(Ordering::Relaxed) {
                        let _ = pthread_kill(by, SIGUSR1);
                        thread::sleep(Duration::from_millis(10));
                    }
                });
            }
            let seen = match self.does {
                Does::Reads(open) => open(socket).map(|own| reads(socket, own)),
                Does::Writes(open) => open(socket).map(|own| writes(socket, own)),
                Does::Else(act, _) => Ok(told(act(socket))),
            };
            ended.store(true, Ordering::Relaxed);
            seen.unwrap_or_else(|error| format!("{error:#}"))
        })
    }

    /// What its peer sees, who begins before it was accepted or a moment later.
    fn peer(&self, stream: Stream, at_once: bool) -> String {
        if !at_once {
            moment();
            moment();
        }
        let socket = &stream.socket;
        match self.does {
            Does::Else(_, peer) => told(peer(Stream { patience: patience(), ..stream })),
            Does::Reads(_) => writes(socket, Box::new(|bytes| patient(socket)?.write_all(bytes))),
            Does::Writes(_) => reads(socket, Box::new(|want| some(patient(socket)?, want))),
        }
    }
}

const CONNECTIONS: usize = 3;

pub fn trial(program: &'static Program) -> Trial {
    let trial = tests::trial(&format!("cases::{}", program.name), || compare(program));
    let trial = tests::needs(trial, !program.mptcp || mptcp::socket().is_ok(), "no MPTCP");
    let (major, minor) = program.since;
    let is_new = kernel::version().is_ok_and(|version| version >= program.since);
    tests::needs(trial, is_new, &format!("from Linux {major}.{minor} on"))
}

/// In pods of its own for each role: a program is not known by what its peer did.
fn compare(program: &Program) -> Result<()> {
    ROLES.iter().try_for_each(|role| same("program", |pair| role(program, pair)).map(drop))
}

/// What the program and its peer have seen of each connection.
pub type Seen = [Vec<String>; 2];

/// The program as server, and as client.
pub const ROLES: [fn(&Program, &Pair) -> Result<Seen>; 2] = [serves, connects];

fn serves(program: &Program, pair: &Pair) -> Result<Seen> {
    let (listening, at) = (Signal::new()?, SocketAddr::from((pair.server.ipv4, PORT)));
    let server = pair.server.spawn(|| {
        let _ring = program.ring()?;
        let listener = program.listen(at)?;
        listening.raise()?;
        let accept = |late| {
            if late {
                moment();
            }
            Stream::accept(&listener, program.then)
        };
        (0..CONNECTIONS).map(|n| Ok(program.run(&accept(n % 2 == 0)?.socket))).collect()
    })?;
    listening.wait()?;
    let client = pair.client.spawn(|| {
        let connect = || Stream::connect(at, NonBlocking);
        (0..CONNECTIONS).map(|n| Ok(program.peer(connect()?, n % 2 == 0))).collect()
    })?;
    Ok([ended(server)?, ended(client)?])
}

fn connects(program: &Program, pair: &Pair) -> Result<Seen> {
    let (listening, at) = (Signal::new()?, SocketAddr::from((pair.server.ipv4, PORT + 1)));
    let server = pair.server.spawn(|| {
        let listener = listen(at, NonBlocking)?;
        listening.raise()?;
        let accept = || Stream::accept(&listener, NonBlocking);
        (0..CONNECTIONS).map(|n| Ok(program.peer(accept()?, n % 2 == 0))).collect()
    })?;
    listening.wait()?;
    let client = pair.client.spawn(|| {
        let _ring = program.ring()?;
        (0..CONNECTIONS).map(|_| Ok(program.run(&program.connect(at)?))).collect()
    })?;
    Ok([ended(client)?, ended(server)?])
}

/// What a task has seen; one that does not end is killed.
fn ended(task: Task<Vec<String>>) -> Result<Vec<String>> {
    let hangs = task.runs_after(patience() * 2 * CONNECTIONS as u32)?;
    if hangs { Ok(vec!["hangs".into()]) } else { task.join() }
}
