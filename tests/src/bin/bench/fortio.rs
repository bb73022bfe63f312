//! fortio, as the mesh's people use it.

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use tests::{
    cpu::Meter,
    latency::Measured,
    listening::listens,
    node::Node,
    pod::Pod,
    sidecars::UID,
    task::{PATIENCE, Process},
};

/// By its name `shunt` trusts it.
pub const NAME: &str = "fortio";
const TCP: u16 = 8078;
pub const GRPC: u16 = 8079;
/// Not fortio's own, which the mesh's other server has.
pub const HTTP: u16 = 8081;
/// Of the histogram: seconds.
const RESOLUTION: &str = "0.00001";
/// A bin of the histogram is drawn as so many values.
const PARTS: u64 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Http,
    Grpc,
}

/// What `-json` writes.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Output {
    /// Nanoseconds.
    actual_duration: u64,
    duration_histogram: Histogram,
    errors_duration_histogram: Option<Histogram>,
    ret_codes: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Histogram {
    count: u64,
    /// Seconds.
    avg: f64,
    /// null without any.
    data: Option<Vec<Bin>>,
}

/// Seconds.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Bin {
    start: f64,
    end: f64,
    count: u64,
}

/// `fortio server` in that pod; listens when this returns, and ends on drop.
///
/// # Errors
/// It does not listen within 10 s.
pub fn serve(binary: &Path, pod: &Pod, dir: &Path) -> Result<Process> {
    let log = dir.join(format!("fortio-{}.log", pod.container_id));
    let mut command = Command::new(binary);
    command
        .args(["server", "-loglevel", "error"])
        .args(["-tcp-port", &TCP.to_string(), "-http-port", &HTTP.to_string()])
        .args(["-grpc-port", &GRPC.to_string(), "-udp-port", "disabled"])
        .args(["-redirect-port", "disabled"])
        .stdout(Stdio::null())
        .stderr(File::create(&log)?);
    let server = pod.start(UID, &mut command)?;
    let deadline = Instant::now() + Duration::from_secs(10);
    let ports = [TCP, GRPC, HTTP];
    while !pod.run(|| ports.iter().try_fold(true, |all, port| Ok(all && listens(*port)?)))? {
        let said = || fs::read_to_string(&log).unwrap_or_default();
        ensure!(Instant::now() < deadline, "fortio does not listen: {}", said());
        sleep(Duration::from_millis(20));
    }
    Ok(server)
}

pub struct Load {
    pub protocol: Protocol,
    pub connections: usize,
    /// Bytes.
    pub size: usize,
    /// Requests a second; None: as many as can be.
    pub rate: Option<f64>,
    pub time: Duration,
}

impl Load {
    /// `fortio load` in that pod, and the mean latency by its own count, in nanoseconds.
    ///
    /// # Errors
    /// It fails, or one of its requests.
    pub fn run(
        &self,
        node: &Node,
        binary: &Path,
        pod: &Pod,
        to: Ipv4Addr,
    ) -> Result<(Measured, f64)> {
        let target = match self.protocol {
            Protocol::Tcp => format!("tcp://{to}:{TCP}"),
            Protocol::Http => format!("http://{to}:{HTTP}/echo"),
            Protocol::Grpc => format!("{to}:{GRPC}"),
        };
        let log = node.dir.join("fortio-load.log");
        let mut command = Command::new(binary);
        command
            .args(["load", "-quiet", "-json", "-", "-r", RESOLUTION])
            .args([
                "-c",
                &self.connections.to_string(),
                "-qps",
                &self.rate.unwrap_or(0.0).to_string(),
            ])
            .args(["-t", &format!("{}ms", self.time.as_millis())])
            .args(["-payload-size", &self.size.to_string()])
            .args(
                (self.protocol == Protocol::Grpc)
                    .then_some(["-grpc", "-ping"])
                    .into_iter()
                    .flatten(),
            )
            .arg(target)
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?);
        let meter = Meter::start(&node.cgroup)?;
        let mut process = pod.start(UID, &mut command)?;
        let text = process.stdout_within(self.time + PATIENCE)?;
        let status = process.wait()?;
        let spent = meter.stop()?;
        let said = || fs::read_to_string(&log).unwrap_or_default();
        ensure!(status.success(), "fortio: {status}: {}", said());
        let output: Output = serde_json::from_str(&text)
            .with_context(|| format!("fortio printed {text:?} {}", said()))?;
        let failed = output.errors_duration_histogram.map_or(0, |errors| errors.count);
        let is_good = |code: &String| matches!(code.as_str(), "OK" | "200" | "SERVING");
        let codes = &output.ret_codes;
        ensure!(failed == 0 && codes.keys().all(is_good), "fortio: {codes:?}: {}", said());
        let requests = output.duration_histogram.count;
        ensure!(requests > 0, "fortio had no answer: {}", said());
        let latencies =
            output.duration_histogram.data.iter().flatten().flat_map(Bin::values).collect();
        let time = Duration::from_nanos(output.actual_duration);
        let mean = output.duration_histogram.avg * 1e9;
        Ok((Measured { requests, time, spent, latencies }, mean))
    }
}

impl Bin {
    /// (Nanoseconds, how many), as if the bin was full evenly.
    fn values(&self) -> impl Iterator<Item = (u64, u64)> {
        let Self { start, end, count } = *self;
        let at = move |part: u64| start + (end - start) * (part as f64 + 0.5) / PARTS as f64;
        let share = move |part: u64| count * (part + 1) / PARTS - count * part / PARTS;
        (0..PARTS)
            .map(move |part| ((at(part) * 1e9) as u64, share(part)))
            .filter(|(_, count)| *count > 0)
    }
}
