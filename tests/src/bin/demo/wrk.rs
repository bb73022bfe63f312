//! The HTTP load: wrk, with 64 connections in a closed loop.

use crate::{
    load::{CONNECTIONS, THREADS},
    stats::Measured,
};
use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};
use tests::{
    cpu::{Meter, Spent},
    node::Node,
    pod::Pod,
};

/// Runs wrk in the pod for a second to warm up, then for the given time in whole seconds.
///
/// # Errors
/// wrk is missing, prints what it should not, or had an error on any connection.
pub fn run(node: &Node, pod: &Pod, uid: u32, to: SocketAddr, time: Duration) -> Result<Measured> {
    let script = node.dir.join("wrk.lua");
    fs::write(&script, include_str!("wrk.lua"))?;
    let wrk = |time: Duration| -> Result<Measured> {
        let meter = Meter::start(&node.cgroup)?;
        let mut command = Command::new("wrk");
        command
            .args(["--timeout", "10s"])
            .args([&format!("-t{THREADS}"), &format!("-c{CONNECTIONS}"), "--latency"])
            .arg(format!("-d{}s", time.as_secs().max(1)))
            .arg("-s")
            .arg(&script)
            .arg(format!("http://{to}/"))
            .stdout(Stdio::piped());
        let mut process = pod.start(uid, &mut command)?;
        let stdout = process.stdout.take().context("no stdout")?;
        let text = std::io::read_to_string(stdout)?;
        let spent = meter.stop()?;
        ensure!(process.wait()?.success(), "wrk: {text}");
        parse(&text, spent).with_context(|| format!("wrk printed: {text}"))
    };
    wrk(Duration::from_secs(1))?;
    wrk(time)
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
    let mut measured = Measured::new(Duration::from_micros(duration), spent, &latencies);
    measured.requests = requests;
    Ok(measured)
}
