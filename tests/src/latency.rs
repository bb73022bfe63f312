//! A load that was measured once: requests, their latencies, and what they cost.

use crate::cpu::Spent;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    pub requests: u64,
    pub time: Duration,
    /// CPU time meanwhile.
    pub spent: Spent,
    pub latencies: Latencies,
}

/// (latency in nanoseconds, how many), ascending.
pub type Latencies = Vec<(u64, u64)>;

impl Measured {
    pub fn new(time: Duration, spent: Spent, latencies: &Histogram<u64>) -> Measured {
        let latencies = latencies
            .iter_recorded()
            .map(|bin| (bin.value_iterated_to(), bin.count_at_value()))
            .collect::<Latencies>();
        Measured { requests: latencies.iter().map(|bin| bin.1).sum(), time, spent, latencies }
    }

    /// Nanoseconds that this share of the requests (0 to 1) did not exceed.
    pub fn quantile(&self, share: f64) -> f64 {
        quantile(&self.latencies, share)
    }

    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.time.as_secs_f64()
    }

    /// Nanoseconds.
    pub fn mean(&self) -> f64 {
        let total: u64 = self.latencies.iter().map(|bin| bin.1).sum();
        let sum: f64 = self.latencies.iter().map(|&(ns, n)| ns as f64 * n as f64).sum();
        sum / total as f64
    }

    /// CPU time of the whole machine for a request, in microseconds.
    pub fn cpu(&self) -> f64 {
        self.spent.all.as_secs_f64() * 1e6 / self.requests as f64
    }
}

/// See [`Measured::quantile`].
pub fn quantile(latencies: &[(u64, u64)], share: f64) -> f64 {
    let total: u64 = latencies.iter().map(|bin| bin.1).sum();
    let mut left = (total as f64 * share).ceil();
    for &(ns, count) in latencies {
        left -= count as f64;
        if left <= 0.0 {
            return ns as f64;
        }
    }
    latencies.last().map_or(0.0, |bin| bin.0 as f64)
}

/// Those of several measurements together.
pub fn merge<'a>(all: impl IntoIterator<Item = &'a Latencies>) -> Latencies {
    let mut merged: Latencies = all.into_iter().flatten().copied().collect();
    merged.sort_unstable();
    merged
}
