//! The HTTP load: wrk, with connections in a closed loop.

use crate::{
    cpu::{Meter, Spent},
    latency::Measured,
    load::THREADS,
    node::Node,
    pod::Pod,
    task::PATIENCE,
};
use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

/// Asks for a body of `size` bytes again and again, on so many connections, for that time in whole seconds.
///
/// # Errors
/// wrk is missing, prints what it should not, or had an error on any connection.
pub fn run(
    (node, pod, uid): (&Node, &Pod, u32),
    to: SocketAddr,
    connections: usize,
    size: usize,
    time: Duration,
) -> Result<Measured> {
    let script = node.dir.join("wrk.lua");
    fs::write(&script, include_str!("wrk.lua"))?;
    let meter = Meter::start(&node.cgroup)?;
    let mut command = Command::new("wrk");
    command
        .args(["--timeout", "10s", "--latency"])
        .args([format!("-t{}", THREADS.min(connections)), format!("-c{connections}")])
        .arg(format!("-d{}s", time.as_secs().max(1)))
        .arg("-s")
        .arg(&script)
        .arg(format!("http://{to}/{size}"))
        .stdout(Stdio::piped());
    let mut process = pod.start(uid, &mut command)?;
    let text = process.stdout_within(time + PATIENCE)?;
    let spent = meter.stop()?;
    ensure!(process.wait()?.success(), "wrk: {text}");
    parse(&text, spent).with_context(|| format!("wrk printed: {text}"))
}

fn parse(text: &str, spent: Spent) -> Result<Measured> {
    let mut latencies = Histogram::<u64>::new(3)?;
    let mut totals = None;
    for line in text.lines() {
        let Some((kind, numbers)) = line.split_once(' ') else {
            continue;
        };
        let numbers = || numbers.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>();
        match kind {
            "shunt-totals" => totals = Some(numbers()?),
            "shunt-latency" => match numbers()?[..] {
                [us, count] => latencies.record_n(us * 1000, count)?,
                _ => anyhow::bail!("{line}"),
            },
            _ => {}
        }
    }
    let totals = totals.context("no totals")?;
    let &[duration, requests, errors] = &totals[..] else {
        anyhow::bail!("totals {totals:?}");
    };
    ensure!(errors == 0, "{errors} errors in {requests} requests");
    ensure!(requests > 0, "no answer");
    let mut measured = Measured::new(Duration::from_micros(duration), spent, &latencies);
    measured.requests = requests;
    Ok(measured)
}
