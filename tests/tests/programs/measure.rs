//! How much took the short way, and what shunt saw of a program: the one place that reads counters.

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::Value;
use shim::layout::{Counters, Habit};
use std::{collections::BTreeSet, fs};
use tests::{node::Node, pod::Pod};

/// Bytes of an Ethernet frame, without the headers of IPv4 and TCP.
const SEGMENT: u64 = 1448;

/// What some pods sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Messages by the short way.
    shunted: u64,
    /// Counted in segments, as TCP does by itself: shunt's own count knows nothing of sockets that
    /// it left alone.
    by_tcp: u64,
    /// Connections, each of which ends with a segment that has nothing but the FIN, and counts as one with data.
    ends: u64,
    bytes: Bytes,
}

/// As shunt counts them: what stays TCP, when its connection ends.
#[derive(Clone, Copy, Debug, Default)]
struct Bytes {
    shunted: u64,
    foretold: u64,
    all: u64,
}

impl Sent {
    pub fn since(self, before: Self) -> Self {
        let Bytes { shunted, foretold, all } = before.bytes;
        Self {
            shunted: self.shunted - before.shunted,
            by_tcp: self.by_tcp - before.by_tcp,
            ends: self.ends - before.ends,
            bytes: Bytes {
                shunted: self.bytes.shunted - shunted,
                foretold: self.bytes.foretold - foretold,
                all: self.bytes.all - all,
            },
        }
    }

    /// Of a hundred segments that TCP would have sent, at least so many took the short way. None: there
    /// were none.
    pub fn share(self) -> Option<u64> {
        let shunted = self.shunted.max(self.bytes.shunted / SEGMENT);
        (shunted * 100).checked_div(shunted + self.by_tcp.saturating_sub(self.ends))
    }

    /// Of a hundred bytes, those that took the short way or would have.
    pub fn share_of_bytes(self) -> Option<u64> {
        let Bytes { shunted, foretold, all } = self.bytes;
        ((shunted + foretold) * 100).checked_div(all)
    }
}

/// What the pods have sent up to now; the node is theirs where it has shunt.
///
/// # Errors
/// A pod is not accelerated, or gone.
pub fn sent(node: Option<&Node>, pods: &[Pod]) -> Result<Sent> {
    let mut all = Sent::default();
    for pod in pods {
        all.by_tcp += pod.run(segments)?;
        if let Some(node) = node {
            let Counters { paired, plain, shunted, by_tcp, plain_bytes, foretold_bytes, .. } =
                node.counters(pod)?;
            all.ends += paired + plain.total();
            all.shunted += shunted.messages;
            all.bytes.shunted += shunted.bytes;
            all.bytes.foretold += foretold_bytes;
            all.bytes.all += shunted.bytes + by_tcp.bytes + plain_bytes.total();
        }
    }
    Ok(all)
}

/// What shunt saw of how programs of these pods read, and why it left connections of theirs alone.
///
/// # Errors
/// As [`sent`].
pub fn signs(node: &Node, pods: &[Pod]) -> Result<[BTreeSet<String>; 2]> {
    let (mut seen, mut reasons) = (BTreeSet::new(), BTreeSet::new());
    for pod in pods {
        for (_, Habit { waits, bad, connections, .. }) in node.habits(pod)? {
            if connections == 0 {
                // Known by name only.
                continue;
            }
            seen.extend(counted(waits)?.into_iter().chain(counted(bad)?));
        }
        let Counters { not_paired, plain, .. } = node.counters(pod)?;
        reasons.extend(counted(not_paired)?.into_iter().chain(counted(plain)?));
    }
    Ok([seen, reasons])
}

/// The names of those that are not 0.
fn counted(counters: impl Serialize) -> Result<Vec<String>> {
    let Value::Object(counters) = serde_json::to_value(counters)? else { return Ok(Vec::new()) };
    let counted = counters.into_iter().filter(|(_, count)| count.as_u64() != Some(0));
    Ok(counted.map(|(name, _)| name.replace('_', " ")).collect())
}

/// TCPOrigDataSent: segments with data that TCP sent in this network namespace, without those that
/// were sent again.
fn segments() -> Result<u64> {
    let text = fs::read_to_string("/proc/net/netstat")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let names = lines.next().context("no TcpExt")?.split(' ');
    let mut values = names.zip(lines.next().context("no TcpExt")?.split(' '));
    let found = values.find(|(name, _)| *name == "TCPOrigDataSent").context("TCPOrigDataSent")?;
    Ok(found.1.parse()?)
}
