//! `status`: which pods are accelerated, and what that gives them.

mod shown;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde::Serialize;
use shim::{
    datapath::Datapath,
    drain,
    layout::{Counters, Node, PodId, SocketState, VERSION},
    pins,
};

use crate::{
    output::{Exit, Output},
    paths, pods,
    programs::{self, Known},
};

/// Show which pods are accelerated, their connections, and how many bytes take the short way
#[derive(clap::Args)]
pub struct Status {
    #[command(flatten)]
    datapath: paths::Datapath,
    /// Show it again and again, so many seconds apart
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2")]
    watch: Option<u64>,
    /// Show what is known of each program, and whether its sockets take part
    #[arg(long)]
    programs: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    layout: &'static str,
    /// Other layouts that are still pinned, with the sockets that they have.
    others: BTreeMap<String, usize>,
    draining: bool,
    /// Connections are only looked at, in pods that do not say otherwise.
    observing: bool,
    node: Option<Node>,
    pods: Vec<Pod>,
    #[serde(skip_serializing_if = "Option::is_none")]
    programs: Option<Vec<Known>>,
}

#[derive(Debug, Serialize)]
struct Pod {
    /// Id of its cgroup, or of its network namespace.
    id: PodId,
    name: String,
    addresses: Vec<IpAddr>,
    /// Seconds since 1970.
    since: u64,
    connections: Connections,
    /// Of what it sent to sockets of this node, the share that took the short way: 0 to 1. What stays
    /// plain TCP is counted when its connection ends.
    share: Option<f64>,
    /// The same with what would have taken it, had it not only been looked at.
    foretold: Option<f64>,
    counters: Counters,
    /// With `--watch`, from the second look on.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<Rate>,
}

/// Of what it sends, a second.
#[derive(Clone, Copy, Debug, Serialize)]
struct Rate {
    /// The short way.
    messages: f64,
    bytes: f64,
    /// By TCP, from sockets in the sockhash.
    tcp_bytes: f64,
}

/// Ends of connections in the sockhash.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Connections {
    /// Sends the short way.
    shunt: usize,
    /// Sends by TCP.
    tcp: usize,
    /// Has no peer yet.
    waiting: usize,
}

impl Status {
    pub fn run(self, output: Output) -> anyhow::Result<Exit> {
        self.datapath.may_look()?;
        let mut last: Option<(Instant, Report)> = None;
        loop {
            let (now, mut report) = (Instant::now(), report(&self.datapath, self.programs)?);
            let Some(seconds) = self.watch else {
                output.print(&report);
                return Ok(Exit::Done);
            };
            if let Some((then, last)) = &last {
                report.since(last, now - *then);
            }
            if !output.refresh(&report) {
                return Ok(Exit::Failed);
            }
            last = Some((now, report));
            sleep(Duration::from_secs(seconds.max(1)));
        }
    }
}

impl Report {
    /// Tells how much that is a second, since that look.
    fn since(&mut self, last: &Self, passed: Duration) {
        for pod in &mut self.pods {
            let before = last.pods.iter().find(|before| before.id == pod.id);
            pod.rate = before.map(|before| {
                let (now, then) = (&pod.counters, &before.counters);
                let rate =
                    |now: u64, then: u64| now.saturating_sub(then) as f64 / passed.as_secs_f64();
                Rate {
                    messages: rate(now.shunted.messages, then.shunted.messages),
                    bytes: rate(now.shunted.bytes, then.shunted.bytes),
                    tcp_bytes: rate(now.by_tcp.bytes, then.by_tcp.bytes),
                }
            });
        }
    }
}

fn report(paths: &paths::Datapath, programs: bool) -> anyhow::Result<Report> {
    let pins = &paths.pin_path;
    let mut report = Report {
        layout: VERSION,
        others: BTreeMap::new(),
        draining: false,
        observing: false,
        node: None,
        pods: Vec::new(),
        programs: None,
    };
    for folder in pins::folders(pins) {
        if !folder.ends_with(VERSION) {
            let sockets = shim::connections::Connections::open(&folder).and_then(|it| it.cookies());
            report.others.insert(folder.display().to_string(), sockets.map_or(0, |it| it.len()));
        }
    }
    let Some(mut datapath) = Datapath::open(pins)? else { return Ok(report) };
    if programs {
        report.programs = Some(programs::of_node(&mut datapath)?);
    }
    report.observing = datapath.is_observing()?;
    report.draining = drain::is_draining(&pins::folder(pins))?;
    report.node = Some(datapath.node()?);
    report.pods = pods_of(&datapath).context("cannot read what is pinned")?;
    Ok(report)
}

fn pods_of(datapath: &Datapath) -> anyhow::Result<Vec<Pod>> {
    let mut connections: BTreeMap<PodId, Connections> = BTreeMap::new();
    for socket in datapath.connections()?.all()? {
        let of_pod = connections.entry(socket.pod).or_default();
        match socket {
            SocketState { met: 0, .. } => of_pod.waiting += 1,
            SocketState { shunt: 0, .. } => of_pod.tcp += 1,
            _ => of_pod.shunt += 1,
        }
    }
    let (names, attachments) = (pods::names(datapath)?, datapath.attachments()?);
    let addresses = datapath.pod_ips()?;
    let mut pods: Vec<Pod> = datapath
        .pods()?
        .into_iter()
        .map(|(id, pod)| {
            let theirs = addresses.iter().filter(|(_, owner)| owner.pod == id);
            let attached = attachments.iter().filter(|(_, attached)| attached.pod == id);
            let Counters { shunted, by_tcp, plain_bytes, foretold_bytes, .. } = pod.counters;
            let sent = shunted.bytes + by_tcp.bytes + plain_bytes.total();
            let share = |bytes: u64| (sent > 0).then(|| bytes as f64 / sent as f64);
            Pod {
                id,
                name: names.get(&id).cloned().unwrap_or_default(),
                addresses: theirs.map(|(it, _)| Ipv6Addr::from(it.ip).to_canonical()).collect(),
                since: attached.map(|(_, attached)| attached.since).min().unwrap_or_default(),
                connections: connections.get(&id).copied().unwrap_or_default(),
                share: share(shunted.bytes),
                foretold: share(shunted.bytes + foretold_bytes),
                counters: pod.counters,
                rate: None,
            }
        })
        .collect();
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(pods)
}
