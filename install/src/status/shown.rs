//! What a person reads of `status`: some lines for each pod, as wide as the terminal.

use std::{
    fmt,
    net::IpAddr,
    time::{Duration, UNIX_EPOCH},
};

use serde::Serialize;
use serde_json::Value;
use shim::layout::Counters;

use super::{Connections, Pod, Report};
use crate::width::count;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (folder, sockets) in &self.others {
            let sockets = count(*sockets as u64, "socket");
            writeln!(f, "{folder}: another layout, {sockets}; `shuntctl upgrade` ends it")?;
        }
        if self.draining {
            writeln!(
                f,
                "drained: no connection takes the short way; `shuntctl drain --resume` ends that"
            )?;
        }
        let Some(node) = &self.node else {
            return write!(f, "nothing is pinned: no pod is accelerated");
        };
        if self.observing {
            writeln!(
                f,
                "connections are only looked at, and counted when they end; `shuntctl mode accelerate` accelerates them"
            )?;
        }
        if let Some(programs) = &self.programs {
            if programs.is_empty() {
                return write!(f, "no program has connected or accepted yet");
            }
            return programs.iter().try_for_each(|known| writeln!(f, "{known}"));
        }
        let made = count(node.accelerated, "pod");
        writeln!(
            f,
            "{} now; since the programs were loaded, {made} accelerated{}",
            count(self.pods.len() as u64, "accelerated pod"),
            reasons(&node.not_accelerated)
        )?;
        self.pods.iter().try_for_each(|pod| write!(f, "{pod}"))
    }
}

impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Connections { shunt, tcp, waiting } = self.connections;
        let Counters { shunted, not_paired, plain, to_tcp, late, .. } = &self.counters;
        let since = UNIX_EPOCH + Duration::from_secs(self.since);
        let since = humantime::format_rfc3339_seconds(since);
        let addresses: Vec<_> = self.addresses.iter().map(IpAddr::to_string).collect();
        writeln!(f, "{}", self.name)?;
        writeln!(f, "  {} since {since}", addresses.join(", "))?;
        writeln!(
            f,
            "  ends of connections: {shunt} the short way, {tcp} by TCP, {waiting} waiting"
        )?;
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let share = match (self.share, self.foretold) {
            (Some(share), Some(foretold)) if foretold > share => {
                format!("{} (would be {})", percent(share), percent(foretold))
            }
            (share, _) => share.map_or("nothing".into(), percent),
        };
        writeln!(
            f,
            "  sent the short way: {}, {share} of what it sent on this node",
            bytes(shunted.bytes as f64)
        )?;
        if let Some(rate) = self.rate {
            writeln!(
                f,
                "  now: {}/s in {:.0} messages/s, by TCP {}/s",
                bytes(rate.bytes),
                rate.messages,
                bytes(rate.tcp_bytes)
            )?;
        }
        let why = [reasons(not_paired), reasons(plain), reasons(to_tcp), reasons(late)].concat();
        match why.strip_prefix(", ") {
            Some(why) => writeln!(f, "  reasons for the rest: {why}"),
            None => Ok(()),
        }
    }
}

/// `, reason 5` for each counter that is not 0.
fn reasons(counters: &impl Serialize) -> String {
    let Ok(Value::Object(counters)) = serde_json::to_value(counters) else { return String::new() };
    let counted = counters.into_iter().filter(|(_, count)| count.as_u64() != Some(0));
    counted.map(|(reason, count)| format!(", {reason} {count}")).collect()
}

fn bytes(count: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = ((count.max(1.0) as u64).ilog2() / 10).min(4);
    format!("{:.1} {}", count / 1024_f64.powi(unit as i32), units[unit as usize])
}
