//! `status`: which pods are accelerated, and what that gives them.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv6Addr},
    thread::sleep,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;
use shim::{
    datapath::{self, Datapath},
    drain,
    layout::{Counters, Node, PodId, SocketState, VERSION},
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
    /// Id of its cgroup.
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
        loop {
            let report = report(&self.datapath, self.programs)?;
            let Some(seconds) = self.watch else {
                output.print(&report);
                return Ok(Exit::Done);
            };
            output.refresh(&report);
            sleep(Duration::from_secs(seconds.max(1)));
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
    for folder in datapath::folders(pins) {
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
    report.draining = drain::is_draining(&datapath::folder(pins))?;
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
            }
        })
        .collect();
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(pods)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (folder, sockets) in &self.others {
            writeln!(f, "{folder}: another layout, {sockets} sockets; `shuntctl upgrade` ends it")?;
        }
        if self.draining {
            writeln!(f, "drained: no connection takes the short way")?;
        }
        let Some(node) = &self.node else { return write!(f, "nothing is pinned") };
        if self.observing {
            writeln!(
                f,
                "connections are only looked at; `shuntctl mode accelerate` accelerates them"
            )?;
        }
        if let Some(programs) = &self.programs {
            return programs.iter().try_for_each(|known| writeln!(f, "{known}"));
        }
        let reasons = reasons(&node.not_accelerated);
        writeln!(f, "{} pods, {} ADDs accelerated{reasons}", self.pods.len(), node.accelerated)?;
        let head = ["POD", "ADDRESSES", "SINCE", "SHORT/TCP/WAITING", "SHUNTED", "SHARE"];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(self.pods.iter().map(Pod::row));
        let widths: [usize; 6] = std::array::from_fn(|column| {
            rows.iter().map(|row| row[column].len()).max().unwrap_or(0)
        });
        let why = self.pods.iter().map(Pod::why);
        for (row, why) in rows.iter().zip(std::iter::once("REASONS FOR THE REST".into()).chain(why))
        {
            for (cell, width) in row.iter().zip(widths) {
                write!(f, "{cell:width$}  ")?;
            }
            writeln!(f, "{}", why.trim_start_matches(", "))?;
        }
        Ok(())
    }
}

impl Pod {
    fn row(&self) -> [String; 6] {
        let Connections { shunt, tcp, waiting } = self.connections;
        let addresses: Vec<_> = self.addresses.iter().map(IpAddr::to_string).collect();
        let since = UNIX_EPOCH + Duration::from_secs(self.since);
        [
            self.name.clone(),
            addresses.join(","),
            humantime::format_rfc3339_seconds(since).to_string(),
            format!("{shunt}/{tcp}/{waiting}"),
            bytes(self.counters.shunted.bytes),
            match (self.share, self.foretold) {
                (Some(share), Some(foretold)) if foretold > share => {
                    format!("{:.1}% (would be {:.1}%)", share * 100.0, foretold * 100.0)
                }
                (Some(share), _) => format!("{:.1}%", share * 100.0),
                (None, _) => "-".to_owned(),
            },
        ]
    }

    fn why(&self) -> String {
        let Counters { not_paired, plain, to_tcp, late, .. } = &self.counters;
        [reasons(not_paired), reasons(plain), reasons(to_tcp), reasons(late)].concat()
    }
}

/// `, reason 5` for each counter that is not 0.
fn reasons(counters: &impl Serialize) -> String {
    let Ok(Value::Object(counters)) = serde_json::to_value(counters) else { return String::new() };
    let counted = counters.into_iter().filter(|(_, count)| count.as_u64() != Some(0));
    counted.map(|(reason, count)| format!(", {reason} {count}")).collect()
}

fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = (count.max(1).ilog2() / 10).min(4);
    format!("{:.1} {}", count as f64 / 1024_f64.powi(unit as i32), units[unit as usize])
}
