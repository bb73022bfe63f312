//! Programs that are trusted by their name, which says nothing of the mode of what they accept.

use anyhow::{Context as _, Result};
use nix::sys::{
    pthread::{pthread_kill, pthread_self},
    signal::{SaFlags, Signal::SIGUSR1},
};
use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::mpsc,
    thread,
};
use tests::{
    node::Node,
    task::Signal,
    traffic::{Mode::NonBlocking, PORT, Stream},
};

use crate::{cases::talk::moment, semantics::raw};

const PART: usize = 10;

/// It accepts, in blocking mode, a socket for which bytes have come, and sleeps in recv(2): a signal restarts
/// that, as with TCP.
pub fn accepts_late_and_blocks() -> Result<()> {
    let node = Node::new("late")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    for round in 0..2 {
        let [listening, sent, interrupted] = [(); 3].map(|()| Signal::new());
        let (listening, sent, interrupted) = (listening?, sent?, interrupted?);
        let server = b.spawn(|| {
            raw::let_interrupt(SIGUSR1, SaFlags::SA_RESTART)?;
            let listener = TcpListener::bind((b.ipv4, PORT))?;
            listening.raise()?;
            sent.wait()?;
            let mut socket = listener.accept()?.0;
            socket.read_exact(&mut [0; 2 * PART])?;
            let (tell, sleeper) = mpsc::channel();
            thread::scope(|scope| {
                let sleeps = scope.spawn(|| {
                    let _ = tell.send(pthread_self());
                    socket.read_exact(&mut [0; PART])
                });
                let sleeper = sleeper.recv()?;
                moment();
                pthread_kill(sleeper, SIGUSR1)?;
                moment();
                interrupted.raise()?;
                Ok(sleeps.join().expect("no panic")?)
            })
        })?;
        listening.wait()?;
        let client = a.spawn(|| {
            let mut stream = Stream::connect((b.ipv4, PORT), NonBlocking)?;
            for _ in 0..2 {
                stream.write_all(&[0; PART])?;
                moment();
            }
            sent.raise()?;
            interrupted.wait()?;
            Ok(stream.write_all(&[0; PART])?)
        })?;
        server.join().with_context(|| format!("round {round}"))?;
        client.join()?;
    }
    Ok(())
}
