//! How much took the short way, and what shunt saw of a program: the one place that reads counters.

use anyhow::{Context as _, Result};
use serde_json::Value;
use shim::layout::Counters;
use std::{collections::BTreeSet, fs};
use tests::{node::Node, pod::Pod};

/// Messages that some pods sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Messages {
    shunted: u64,
    /// Counted in segments, as TCP does by itself: shunt's own count knows nothing of sockets that
    /// it left alone.
    by_tcp: u64,
}

impl Messages {
    pub fn since(self, before: Self) -> Self {
        let Self { shunted, by_tcp } = before;
        Self { shunted: self.shunted - shunted, by_tcp: self.by_tcp - by_tcp }
    }

    /// Of a hundred, those that took the short way. None: there were none.
    pub fn share(self) -> Option<u64> {
        (self.shunted * 100).checked_div(self.shunted + self.by_tcp)
    }
}

/// What the pods have sent up to now; the node is theirs where it has shunt.
///
/// # Errors
/// A pod is not accelerated, or gone.
pub fn messages(node: Option<&Node>, pods: &[Pod]) -> Result<Messages> {
    let mut all = Messages::default();
    for pod in pods {
        all.by_tcp += pod.run(segments)?;
        if let Some(node) = node {
            all.shunted += node.counters(pod)?.shunted.messages;
        }
    }
    Ok(all)
}

/// Why shunt left connections of these pods alone, and what it saw of how they read.
///
/// # Errors
/// As [`messages`].
pub fn signs(node: &Node, pods: &[Pod]) -> Result<BTreeSet<String>> {
    let mut signs = BTreeSet::new();
    for pod in pods {
        let Counters { not_paired, turned, .. } = node.counters(pod)?;
        for counters in [serde_json::to_value(not_paired)?, serde_json::to_value(turned)?] {
            let Value::Object(counters) = counters else { continue };
            let seen = counters.into_iter().filter(|(_, count)| count.as_u64() != Some(0));
            signs.extend(seen.map(|(name, _)| name.replace('_', " ")));
        }
    }
    Ok(signs)
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
