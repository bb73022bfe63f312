//! Connections that end with their first answer are left alone, for as long as they do so.

use anyhow::{Result, ensure};
use shim::layout::Counters;
use std::{
    io::{Read as _, Write as _},
    thread,
};
use tests::{
    node::Node,
    pod::Pod,
    task::Signal,
    traffic::{Mode::NonBlocking, PORT, Pattern, Stream, listen},
};

/// Of another remainder modulo 16.
const OTHER: u16 = PORT + 1;
const BRIEF: u64 = 300;
const LONG: u64 = 100;
const SIZE: usize = 200;
const ASK: Pattern = Pattern { seed: 5 };

/// Until who connects has ended.
fn echo(mut stream: Stream) -> Result<()> {
    let mut bytes = [0; SIZE];
    loop {
        match stream.read(&mut bytes)? {
            0 => return Ok(()),
            read => stream.write_all(&bytes[..read])?,
        }
    }
}

fn serve(pod: &Pod, ports: [u16; 2], listening: &Signal) -> Result<()> {
    thread::scope(|scope| {
        for port in ports {
            let listener = listen((pod.ipv4, port), NonBlocking)?;
            scope.spawn(move || {
                while let Ok(stream) = Stream::accept(&listener, NonBlocking) {
                    thread::spawn(move || echo(stream));
                }
            });
        }
        listening.raise()
    })
}

fn connections(from: &Pod, to: (&Pod, u16), number: u64, exchanges: u64) -> Result<()> {
    from.run(|| {
        let (mut asked, mut answer) = ([0; SIZE], [0; SIZE]);
        for _ in 0..number {
            let mut stream = Stream::connect((to.0.ipv4, to.1), NonBlocking)?;
            for exchange in 0..exchanges {
                ASK.fill(exchange, &mut asked);
                stream.write_all(&asked)?;
                stream.read_exact(&mut answer)?;
                ensure!(answer == asked, "a wrong answer");
            }
        }
        Ok(())
    })
}

pub fn are_left_alone() -> Result<()> {
    let node = Node::new("brief")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let listening = Signal::new()?;
    let _server = b.spawn(|| serve(&b, [PORT, OTHER], &listening))?;
    listening.wait()?;
    let of_client = || -> Result<(u64, u64)> {
        let Counters { paired, plain, .. } = node.counters(&a)?;
        Ok((paired, plain.brief))
    };
    // So that both programs are known where they are watched.
    connections(&a, (&b, OTHER), 20, LONG)?;
    connections(&a, (&b, PORT), 20, LONG)?;
    let (paired, brief) = of_client()?;
    ensure!(brief == 0, "{brief} were left alone of those that are long");

    // What the long ones have saved is used up first.
    let saved = 20 * 2 * LONG / 20;
    connections(&a, (&b, PORT), saved + BRIEF, 1)?;
    let now = of_client()?;
    ensure!(now.1 > BRIEF / 2, "{now:?} of {BRIEF} that are brief, {paired} before");
    ensure!(now.0 + now.1 <= paired + saved + BRIEF, "{now:?}");

    connections(&a, (&b, OTHER), 1, 1)?;
    ensure!(of_client()? == (now.0 + 1, now.1), "one to another port was left alone");

    // One of four is looked at, and seen to last.
    connections(&a, (&b, PORT), 8, LONG)?;
    let before = of_client()?;
    connections(&a, (&b, PORT), 8, LONG)?;
    let now = of_client()?;
    ensure!(now == (before.0 + 8, before.1), "{now:?} after {before:?}: still left alone");
    ensure!(node.sockets()?.is_empty(), "sockets left in the sockhash");
    Ok(())
}

/// Those that take no part, too: it costs them something to be looked at.
pub fn are_looked_at_no_more() -> Result<()> {
    let mut node = Node::new("looked")?;
    node.conf.insert("mode".into(), "observe".into());
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let listening = Signal::new()?;
    let _server = b.spawn(|| serve(&b, [PORT, OTHER], &listening))?;
    listening.wait()?;
    let seen = || -> Result<(u64, u64)> {
        let Counters { plain, .. } = node.counters(&a)?;
        Ok((plain.observed, plain.brief))
    };
    connections(&a, (&b, PORT), BRIEF, 1)?;
    let now = seen()?;
    ensure!(now.1 > BRIEF / 2, "{now:?} of {BRIEF} that are brief");
    ensure!(now.0 + now.1 == BRIEF, "{now:?} of {BRIEF}");

    connections(&a, (&b, OTHER), LONG, LONG)?;
    ensure!(seen()? == (now.0 + LONG, now.1), "of those that are long some were left alone");

    // One of four is looked at, and seen to last.
    connections(&a, (&b, PORT), 8, LONG)?;
    let before = seen()?;
    connections(&a, (&b, PORT), 8, LONG)?;
    let now = seen()?;
    ensure!(now == (before.0 + 8, before.1), "{now:?} after {before:?}: still left alone");
    Ok(())
}
