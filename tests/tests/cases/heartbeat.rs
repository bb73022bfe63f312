//! A network between two pods that is cut, or a policy that appears: what is said stops as by TCP, and
//! goes on afterwards with nothing lost.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    thread::sleep,
    time::{Duration, Instant},
};
use tests::{
    node::Node,
    pod::{Pod, PodSpec},
    task::Signal,
    traffic::{Mode::NonBlocking, PORT, Pattern, Stream, exchange, listen},
    trial,
};

use super::{beat_each_second, patience};
use crate::pairing::command;

pub fn tests() -> Vec<Trial> {
    let cut = |name, rule: &'static str| trial(name, move || compare(rule));
    vec![
        cut("cases::heartbeat::nothing_comes_in", "INPUT -p tcp -j DROP"),
        cut("cases::heartbeat::nothing_goes_out", "OUTPUT -p tcp -j DROP"),
    ]
}

/// How long the network is cut: heartbeats are a second apart.
const CUT: Duration = Duration::from_secs(6);
/// With what may still come in two of them.
const SILENT: Duration = Duration::from_secs(3);
/// Of 100 bytes, for longer than the network is cut.
const MESSAGES: u64 = 450;
const PATTERNS: [Pattern; 2] = [Pattern { seed: 50 }, Pattern { seed: 51 }];

/// Whether the reader in a pod with this rule for a while hears nothing for long, and all in the end.
fn compare(rule: &str) -> Result<()> {
    let node = Node::new("cut")?;
    let pods = |shunt| -> Result<[Pod; 2]> {
        let pod = |name| {
            let mut spec = PodSpec::new(name);
            spec.shunt = shunt;
            beat_each_second(&mut spec);
            node.pod_with(spec)
        };
        Ok([pod("server")?, pod("client")?])
    };
    let plain = cut(&pods(false)?, rule).context("by plain TCP")?;
    let attached = pods(true)?;
    let seen = cut(&attached, rule).context("between attached pods")?;
    ensure!(plain == (true, true), "by plain TCP silent and whole: {plain:?}");
    ensure!(seen == plain, "between attached pods silent and whole: {seen:?}");
    let counters = node.counters(&attached[1])?;
    ensure!(counters.shunted.messages > 0, "the short way was not taken: {counters:?}");
    Ok(())
}

fn cut([server, client]: &[Pod; 2], rule: &str) -> Result<(bool, bool)> {
    let (listening, talking) = (Signal::new()?, Signal::new()?);
    let [there, back] = PATTERNS;
    let reader = server.spawn(|| {
        let listener = listen((server.ipv4, PORT), NonBlocking)?;
        listening.raise()?;
        let mut stream = Stream::accept(&listener, NonBlocking)?;
        exchange(&mut stream, [back, there], false, 100, 20)?;
        hear(&mut stream)
    })?;
    listening.wait()?;
    let writer = client.spawn(|| {
        let mut stream = Stream::connect((server.ipv4, PORT), NonBlocking)?;
        exchange(&mut stream, PATTERNS, true, 100, 20)?;
        talking.raise()?;
        for message in 0..MESSAGES {
            let mut bytes = [0; 100];
            there.fill(message * 100, &mut bytes);
            stream.write_all(&bytes)?;
            sleep(Duration::from_millis(20));
        }
        Ok(stream.shutdown(Shutdown::Write)?)
    })?;
    talking.wait()?;
    sleep(Duration::from_secs(1));
    server.run(|| command("iptables", &format!("-I {rule}")))?;
    sleep(CUT);
    server.run(|| command("iptables", &format!("-D {rule}")))?;
    writer.join()?;
    let (silence, heard) = reader.join_within(patience() * 10)?;
    Ok((silence >= SILENT, heard == MESSAGES * 100))
}

/// The longest time in which nothing came, and how many bytes came until the end.
fn hear(stream: &mut Stream) -> Result<(Duration, u64)> {
    let (mut longest, mut last, mut total) = (Duration::ZERO, Instant::now(), 0);
    let mut bytes = [0; 1 << 12];
    loop {
        let n = stream.read(&mut bytes)?;
        longest = longest.max(last.elapsed());
        last = Instant::now();
        if n == 0 {
            return Ok((longest, total));
        }
        PATTERNS[0].check(total, &bytes[..n])?;
        total += n as u64;
    }
}
