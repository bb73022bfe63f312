//! Bulk in one direction leaves the short way for good, and what is answered returns to it.

use crate::scale::scaled;
use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use shim::layout::ToTcp;
use std::{
    io::{Read, Write},
    net::Shutdown,
    thread,
    time::Duration,
};
use tests::{
    node::Node,
    traffic::{Mode::NonBlocking, Pace, Pattern, Stream, converse, exchange, receive, send},
    trial,
};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("bulk::leaves_for_good", leaves_for_good),
        trial("bulk::large_and_alone_leaves", large_and_alone_leaves),
        trial("bulk::small_among_large_stays", small_among_large_stays),
        trial("bulk::answered_returns", answered_returns),
        trial("bulk::loses_nothing_to_a_late_answer", loses_nothing_to_a_late_answer),
    ]
}

/// A pooled connection with answers of any size to small questions.
fn small_among_large_stays() -> Result<()> {
    const ANSWER: usize = 1_500_000;
    const TIMES: u64 = 60;
    let node = Node::new("pool")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let serve = |mut stream: Stream| {
        let mut answer = vec![0; ANSWER];
        for turn in 0..TIMES {
            stream.read_exact(&mut [0; 100])?;
            BACK.fill(turn, &mut answer);
            stream.write_all(&answer)?;
        }
        exchange(&mut stream, [BACK, THERE], false, 1 << 10, TIMES)
    };
    let drive = |mut stream: Stream| {
        let mut answer = vec![0; ANSWER];
        for turn in 0..TIMES {
            stream.write_all(&[0; 100])?;
            stream.read_exact(&mut answer)?;
            BACK.check(turn, &answer)?;
        }
        let before = node.counters(&b)?.shunted.messages;
        exchange(&mut stream, [THERE, BACK], true, 1 << 10, TIMES)?;
        Ok(node.counters(&b)?.shunted.messages - before)
    };
    let ((), small) = converse((&b, &a), b.ipv4.into(), NonBlocking, serve, drive)?;
    let answers = node.counters(&b)?;
    assert_eq!(answers.to_tcp.bulk, 0, "{answers:?}");
    assert!(small > TIMES / 2, "{small} of {TIMES} small answers by the short way: {answers:?}");
    Ok(())
}

/// More than `ebpf/src/rules/bulk.rs` needs to know it.
const BULK: u64 = 40 << 20;
const THERE: Pattern = Pattern { seed: 31 };
const BACK: Pattern = Pattern { seed: 32 };
const QUICK: Pace = Pace { largest: 1 << 20, pause_every: 0 };
const SMALL: Pace = Pace { largest: 1 << 15, ..QUICK };
/// Slower than who sends.
const SLOW: Pace = Pace { largest: 1 << 14, pause_every: 1000 };

/// The sender has left; its connection goes on in both directions, by TCP.
fn leaves_for_good() -> Result<()> {
    const AFTER: u64 = 1 << 20;
    let node = Node::new("bulk")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let serve = |mut stream: Stream| {
        let received = receive(&mut (&mut stream).take(BULK), THERE, SLOW)?;
        ensure!(received == BULK, "{received} bytes");
        send(&mut stream, BACK, AFTER, QUICK)?;
        receive(&mut stream, THERE, QUICK)
    };
    let drive = |mut stream: Stream| {
        send(&mut stream, THERE, BULK, QUICK)?;
        let back = receive(&mut (&mut stream).take(AFTER), BACK, QUICK)?;
        let sockets = node.sockets()?.len();
        send(&mut stream, THERE, AFTER, QUICK)?;
        stream.shutdown(Shutdown::Write)?;
        Ok((back, sockets))
    };
    let (received, (back, sockets)) = converse((&b, &a), b.ipv4.into(), NonBlocking, serve, drive)?;
    assert_eq!((received, back), (AFTER, AFTER));
    // The reader's may stay: see `on_packet` in `ebpf/src/rules/bulk.rs`.
    assert!(sockets < 2, "{sockets} sockets");
    let [there, answers] = [&a, &b].map(|pod| node.counters(pod));
    let (there, answers) = (there?, answers?);
    assert_eq!(there.to_tcp.bulk, 1, "{there:?}");
    assert_eq!(answers.shunted.bytes, 0, "{answers:?}");
    Ok(())
}

/// Large messages are answered by such, and nobody else sends.
fn large_and_alone_leaves() -> Result<()> {
    const SIZE: usize = 256 << 10;
    const TIMES: u64 = 100;
    let node = Node::new("large")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let serve = |mut stream: Stream| exchange(&mut stream, [BACK, THERE], false, SIZE, TIMES);
    let drive = |mut stream: Stream| exchange(&mut stream, [THERE, BACK], true, SIZE, TIMES);
    converse((&b, &a), b.ipv4.into(), NonBlocking, serve, drive)?;
    let counters = [&a, &b].map(|pod| node.counters(pod));
    let left: u64 = counters.into_iter().map(|pod| Ok(pod?.to_tcp.bulk)).sum::<Result<_>>()?;
    assert!(left > 0);
    Ok(())
}

/// As much as bulk, but the reader says now and then how far it is.
fn answered_returns() -> Result<()> {
    const PORTION: u64 = 4 << 20;
    let node = Node::new("answered")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let serve = |mut stream: Stream| {
        for _ in 0..BULK / PORTION {
            // Until the queue is full.
            thread::sleep(Duration::from_millis(100));
            let received = receive(&mut (&mut stream).take(PORTION), THERE, SLOW)?;
            ensure!(received == PORTION, "{received} bytes");
            stream.write_all(b"!")?;
        }
        Ok(())
    };
    let drive = |mut stream: Stream| {
        for _ in 0..BULK / PORTION {
            send(&mut stream, THERE, PORTION, SMALL)?;
            stream.read_exact(&mut [0])?;
        }
        Ok(())
    };
    converse((&b, &a), b.ipv4.into(), NonBlocking, serve, drive)?;
    let counters = node.counters(&a)?;
    let ToTcp { bulk, queue_full, .. } = counters.to_tcp;
    assert!(bulk == 0 && queue_full > 1 && counters.to_shunt > 1, "{counters:?}");
    Ok(())
}

/// The reader begins to answer just when the sender leaves: what is on its way is not dropped.
fn loses_nothing_to_a_late_answer() -> Result<()> {
    let node = Node::new("late")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let mut left = 0;
    let rounds = scaled(40).max(2);
    for round in 0..rounds {
        // Known to be bulk after 8 MiB and what the queue took, or later.
        let silent_until = (6 << 20) + round * (10 << 20) / rounds;
        let serve = |mut stream: Stream| {
            let mut answers = stream.try_clone()?;
            let mut buffer = vec![0; 1 << 14];
            let (mut received, mut sent) = (0, 0);
            loop {
                let read = stream.read(&mut buffer)?;
                if read == 0 {
                    return Ok((received, sent));
                }
                THERE.check(received, &buffer[..read])?;
                received += read as u64;
                if received > silent_until {
                    let size = 1 + received as usize % 1000;
                    BACK.fill(sent, &mut buffer[..size]);
                    answers.write_all(&buffer[..size])?;
                    sent += size as u64;
                }
            }
        };
        let drive = |mut stream: Stream| {
            let mut writer = stream.try_clone()?;
            thread::scope(|scope| {
                let sending = scope.spawn(move || -> Result<()> {
                    send(&mut writer, THERE, BULK, QUICK)?;
                    Ok(writer.shutdown(Shutdown::Write)?)
                });
                let received = receive(&mut stream, BACK, QUICK);
                sending.join().expect("no panic")?;
                received
            })
        };
        let ((received, sent), answers) =
            converse((&b, &a), b.ipv4.into(), NonBlocking, serve, drive)?;
        assert_eq!((received, answers), (BULK, sent));
        left = node.counters(&a)?.to_tcp.bulk;
    }
    let shunted = node.counters(&b)?.shunted.bytes;
    println!("{left} of {rounds} left, {shunted} bytes of answers went the short way");
    assert!(left > 0);
    Ok(())
}
