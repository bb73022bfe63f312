//! Which programs are handed bytes: those that were seen to read them, and for how long.

mod gone;
mod named;
mod next;
mod tolerant;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use nix::{
    fcntl::{SpliceFFlags, splice},
    poll::PollFlags,
    unistd::pipe,
};
use shim::layout::{Counters, Habit, Watch};
use std::{
    io::{Read, Write},
    net::Shutdown,
    thread,
};
use tests::{
    node::Node,
    pod::{Pod, PodSpec},
    task::{Signal, Task},
    traffic::{
        Mode::{self, Blocking, NonBlocking},
        PORT, Stream, converse, listen,
    },
    trial,
};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("trust::comes_with_an_exchange", comes_with_an_exchange),
        trial("trust::reaches_who_polls_first", reaches_who_polls_first),
        trial("trust::sleepers_have_none", sleepers_have_none),
        trial("trust::sleepers_have_it_if_asked_for", sleepers_have_it_if_asked_for),
        trial("trust::those_that_never_block_have_it", those_that_never_block_have_it),
        trial("trust::those_that_switch_have_none", those_that_switch_have_none),
        trial("trust::java_takes_part", tolerant::java_takes_part),
        trial("trust::java_of_another_kind_does_not", tolerant::java_of_another_kind_does_not),
        trial("trust::named_and_blocks_after_all", named::accepts_late_and_blocks),
        trial("trust::one_that_splices_is_alone", one_that_splices_is_alone),
        trial("trust::ends_with_a_late_sign", ends_with_a_late_sign),
        trial("trust::goes_with_the_pod", gone::with_the_pod),
        trial("trust::goes_with_the_pod_or_with_a_few", gone::or_with_a_few),
        trial("trust::goes_with_a_pod_whose_programs_stay", gone::with_a_pod_whose_programs_stay),
        trial("trust::goes_with_who_listened", next::sleeps),
        trial("trust::goes_with_who_joins", next::sleeps_beside),
        trial("trust::is_only_foretold_where_one_observes", is_only_foretold_where_one_observes),
    ]
}

const ROUNDS: u64 = 100;
const SIZE: usize = 500;

/// Reads as epoll's users do, also in blocking mode: when there is something.
fn polled(stream: &mut Stream, buffer: &mut [u8]) -> Result<()> {
    let mut read = 0;
    while read < buffer.len() {
        stream.wait(PollFlags::POLLIN)?;
        match stream.socket.read(&mut buffer[read..])? {
            0 => anyhow::bail!("the end after {read} bytes"),
            n => read += n,
        }
    }
    Ok(())
}

pub fn slept(stream: &mut Stream, buffer: &mut [u8]) -> Result<()> {
    Ok(stream.read_exact(buffer)?)
}

type Read1 = fn(&mut Stream, &mut [u8]) -> Result<()>;

/// Request and answer, in turn, over one connection.
pub fn talk(pods: (&Pod, &Pod), mode: Mode, read: Read1) -> Result<()> {
    let (server, client) = pods;
    let serve = |mut stream: Stream| {
        let mut message = [0; SIZE];
        for _ in 0..ROUNDS {
            read(&mut stream, &mut message)?;
            stream.write_all(&message)?;
        }
        Ok(())
    };
    let drive = |mut stream: Stream| {
        for round in 0..ROUNDS {
            let message = [round as u8; SIZE];
            stream.write_all(&message)?;
            let mut answer = [0; SIZE];
            read(&mut stream, &mut answer)?;
            ensure!(answer == message, "round {round}");
        }
        Ok(())
    };
    converse((server, client), server.ipv4.into(), mode, serve, drive).map(drop)
}

/// Messages that took the short way, of both pods.
fn short(node: &Node, pods: [&Pod; 2]) -> Result<u64> {
    pods.into_iter().map(|pod| Ok(node.counters(pod)?.shunted.messages)).sum()
}

/// At least nine tenths of a second connection take the short way.
fn is_accelerated(node: &Node, pods: (&Pod, &Pod), mode: Mode, read: Read1) -> Result<()> {
    talk(pods, mode, read)?;
    let both = [pods.0, pods.1];
    let before = short(node, both)?;
    talk(pods, mode, read)?;
    let now = short(node, both)? - before;
    let habits = [node.habits(pods.0)?, node.habits(pods.1)?];
    ensure!(now >= 2 * ROUNDS * 9 / 10, "{now} of {} messages: {habits:?}", 2 * ROUNDS);
    Ok(())
}

/// What TCP counts as sent has a byte more for the end of each connection.
fn is_counted(bytes: u64, messages: u64) -> bool {
    (messages * SIZE as u64..messages * SIZE as u64 + 10).contains(&bytes)
}

fn comes_with_an_exchange() -> Result<()> {
    let node = Node::learning("exchange")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    is_accelerated(&node, (&b, &a), NonBlocking, slept)?;
    let Counters { plain, paired, .. } = node.counters(&b)?;
    // The first is looked at: in the sockhash where that is harmless, else on plain TCP.
    ensure!(paired + plain.learning == 2 && paired >= 1, "{paired} {plain:?}");
    let habits = node.habits(&b)?;
    let accepts = habits.iter().find(|(program, _)| program.port == PORT);
    ensure!(
        accepts.is_some_and(|(_, habit)| habit.trusted == Habit::LEARNED && habit.connections == 2),
        "{habits:?}"
    );
    let habits = node.habits(&a)?;
    ensure!(habits.iter().any(|(program, habit)| program.name != [0; 16] && habit.exchanges > 0));
    Ok(())
}

fn reaches_who_polls_first() -> Result<()> {
    let node = Node::learning("polls")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let [first, second] = next::accepts(&node, (&b, &a))?;
    ensure!(second - first >= 2 * ROUNDS * 9 / 10, "{first} and {second} messages");
    Ok(())
}

fn sleepers_have_none() -> Result<()> {
    let node = Node::learning("sleepers")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    for _ in 0..3 {
        talk((&b, &a), Blocking, slept)?;
    }
    let counters = node.counters(&b)?;
    ensure!(counters.shunted.messages == 0 && counters.plain.sleeps >= 2, "{counters:?}");
    ensure!(is_counted(counters.plain_bytes.total(), 3 * ROUNDS), "{counters:?}");
    Ok(())
}

fn sleepers_have_it_if_asked_for() -> Result<()> {
    let node = Node::learning("asked")?;
    let pod = |name| {
        let mut spec = PodSpec::new(name);
        spec.conf.insert("blocking".into(), "on".into());
        node.pod_with(spec)
    };
    let (a, b) = (pod("a")?, pod("b")?);
    is_accelerated(&node, (&b, &a), Blocking, slept)
}

/// Of a program some of whose sockets sleep.
fn those_that_never_block_have_it() -> Result<()> {
    let node = Node::learning("some")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    talk((&b, &a), NonBlocking, slept)?;
    talk((&b, &a), Blocking, slept)?;
    let before = short(&node, [&a, &b])?;
    talk((&b, &a), Blocking, slept)?;
    ensure!(short(&node, [&a, &b])? == before, "a sleeper was handed bytes");
    ensure!(node.habits(&b)?.iter().any(|(_, habit)| habit.waits.sleeps > 0));
    is_accelerated(&node, (&b, &a), NonBlocking, slept)
}

/// One socket that sleeps at times could be handed bytes while it does.
fn those_that_switch_have_none() -> Result<()> {
    let node = Node::learning("switch")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let switches: Read1 = |stream, buffer| {
        let (first, rest) = buffer.split_at_mut(1);
        stream.socket.set_nonblocking(false)?;
        slept(stream, first)?;
        stream.socket.set_nonblocking(true)?;
        slept(stream, rest)
    };
    talk((&b, &a), NonBlocking, switches)?;
    let before = node.counters(&b)?;
    talk((&b, &a), NonBlocking, slept)?;
    let after = node.counters(&b)?;
    assert_eq!(after.shunted, before.shunted);
    assert_eq!(after.plain.sleeps, before.plain.sleeps + 1);
    Ok(())
}

/// Two servers in one pod: what one does is nothing to the other.
fn one_that_splices_is_alone() -> Result<()> {
    let node = Node::learning("alone")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let listening = Signal::new()?;
    let splicer: Task<()> = b.spawn(|| {
        let listener = listen((b.ipv4, PORT + 1), NonBlocking)?;
        listening.raise()?;
        for _ in 0..3 {
            let stream = Stream::accept(&listener, NonBlocking)?;
            stream.wait(PollFlags::POLLIN)?;
            let (_out, into) = pipe()?;
            let flags = SpliceFFlags::SPLICE_F_NONBLOCK;
            ensure!(splice(&stream.socket, None, &into, None, 4, flags)? == 4);
        }
        Ok(())
    })?;
    listening.wait()?;
    for _ in 0..3 {
        a.run(|| {
            let mut stream = Stream::connect((b.ipv4, PORT + 1), NonBlocking)?;
            stream.write_all(b"data")?;
            Ok(stream.read(&mut [0])?)
        })?;
    }
    splicer.join()?;
    ensure!(node.counters(&b)?.plain.splices >= 1);
    is_accelerated(&node, (&b, &a), NonBlocking, slept)
}

/// A program that is known reads by splice(2) for once: what comes after goes by TCP, and so does what
/// comes to its next connections.
fn ends_with_a_late_sign() -> Result<()> {
    let node = Node::learning("late")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    is_accelerated(&node, (&b, &a), NonBlocking, slept)?;
    let serve = |mut stream: Stream| {
        let mut message = [0; 4];
        stream.read_exact(&mut message)?;
        stream.write_all(b"once")?;
        let (mut out, into) = pipe().map(|(out, into)| (std::fs::File::from(out), into))?;
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK;
        // Nothing has come: the sign, before anything could be missed.
        ensure!(splice(&stream.socket, None, &into, None, 4, flags).is_err());
        stream.write_all(b"more")?;
        stream.wait(PollFlags::POLLIN)?;
        ensure!(splice(&stream.socket, None, &into, None, 4, flags)? == 4);
        out.read_exact(&mut message)?;
        Ok(message)
    };
    let drive = |mut stream: Stream| {
        let mut answer = [0; 4];
        stream.write_all(b"data")?;
        stream.read_exact(&mut answer)?;
        stream.read_exact(&mut answer)?;
        stream.write_all(b"last")?;
        stream.shutdown(Shutdown::Write)?;
        Ok(())
    };
    let (spliced, ()) = converse((&b, &a), b.ipv4.into(), NonBlocking, serve, drive)?;
    assert_eq!(&spliced, b"last");
    let before = node.counters(&b)?;
    assert_eq!(before.late.splice, 0, "{before:?}");
    talk((&b, &a), NonBlocking, slept)?;
    let after = node.counters(&b)?;
    assert_eq!(after.shunted, before.shunted);
    assert_eq!(after.plain.splices, before.plain.splices + 1);
    Ok(())
}

/// Nothing enters the sockhash, and what would be is told; then it is switched on.
fn is_only_foretold_where_one_observes() -> Result<()> {
    let mut node = Node::learning("observes")?;
    node.conf.insert("mode".into(), "observe".into());
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    talk((&b, &a), NonBlocking, slept)?;
    let (asked, go) = (Signal::new()?, Signal::new()?);
    let serve = |mut stream: Stream| {
        stream.read_exact(&mut [0; SIZE])?;
        asked.raise()?;
        go.wait()?;
        Ok(stream.write_all(&[0; SIZE])?)
    };
    let drive = |mut stream: Stream| {
        stream.write_all(&[0; SIZE])?;
        Ok(stream.read_exact(&mut [0; SIZE])?)
    };
    thread::scope(|scope| {
        let talking =
            scope.spawn(|| converse((&b, &a), b.ipv4.into(), NonBlocking, serve, drive).map(drop));
        asked.wait()?;
        let entered = node.sockets()?.len();
        go.raise()?;
        talking.join().expect("no panic")?;
        ensure!(entered == 0, "{entered} sockets in the sockhash");
        Ok(())
    })?;
    for pod in [&a, &b] {
        let Counters { shunted, plain_bytes, foretold_bytes, .. } = node.counters(pod)?;
        let all = is_counted(plain_bytes.observed, ROUNDS + 1);
        ensure!(shunted.bytes == 0 && all, "{plain_bytes:?}");
        ensure!(is_counted(foretold_bytes, ROUNDS + 1), "{foretold_bytes}");
    }
    node.datapath()?.observe(false)?;
    talk((&b, &a), NonBlocking, slept)?;
    let taken = short(&node, [&a, &b])?;
    ensure!(taken >= 2 * ROUNDS * 9 / 10, "{taken}");
    ensure!(node.datapath()?.node()?.watch != Watch::Names as u64);
    Ok(())
}
