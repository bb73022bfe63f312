//! Which way pods' bytes went, by shunt's counters.

use anyhow::Result;
use serde_json::Value;
use tests::{node::Node, pod::Pod};

/// Bytes that pods have sent.
#[derive(Clone, Copy)]
pub struct ShortWay {
    short: u64,
    /// On sockets in the sockhash, and on connections of the node's that ended and were never in it.
    by_tcp: u64,
}

impl ShortWay {
    /// # Errors
    /// A pod is not accelerated.
    pub fn of<'a>(node: &Node, pods: impl IntoIterator<Item = &'a Pod>) -> Result<Self> {
        let mut sum = Self { short: 0, by_tcp: 0 };
        for pod in pods {
            let counters = node.counters(pod)?;
            sum.short += counters.shunted.bytes;
            let plain = serde_json::to_value(counters.plain_bytes)?;
            let plain = plain.as_object().into_iter().flat_map(|all| all.values());
            sum.by_tcp += counters.by_tcp.bytes + plain.filter_map(Value::as_u64).sum::<u64>();
        }
        Ok(sum)
    }

    /// 0 to 1. None: nothing was sent.
    pub fn share_since(self, before: ShortWay) -> Option<f64> {
        let (short, by_tcp) = (self.short - before.short, self.by_tcp - before.by_tcp);
        (short + by_tcp > 0).then(|| short as f64 / (short + by_tcp) as f64)
    }
}
