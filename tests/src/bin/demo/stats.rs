//! What was measured, and what it comes to over several rounds.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};
use tests::{
    cpu::Spent,
    ratio::{Ratio, median},
};

/// One load, measured once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    pub requests: u64,
    pub time: Duration,
    /// CPU time meanwhile.
    pub spent: Spent,
    /// (latency in nanoseconds, how many), ascending.
    pub latencies: Vec<(u64, u64)>,
}

impl Measured {
    pub fn new(time: Duration, spent: Spent, latencies: &Histogram<u64>) -> Measured {
        let latencies = latencies
            .iter_recorded()
            .map(|bin| (bin.value_iterated_to(), bin.count_at_value()))
            .collect::<Vec<_>>();
        Measured { requests: latencies.iter().map(|bin| bin.1).sum(), time, spent, latencies }
    }

    /// Nanoseconds that this share of the requests (0 to 1) did not exceed.
    pub fn quantile(&self, share: f64) -> f64 {
        quantile(&self.latencies, share)
    }

    fn mean(&self) -> f64 {
        let total: u64 = self.latencies.iter().map(|bin| bin.1).sum();
        let sum: f64 = self.latencies.iter().map(|&(ns, n)| ns as f64 * n as f64).sum();
        sum / total as f64
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

/// A number that a load is judged by.
pub struct Metric {
    pub name: &'static str,
    pub unit: &'static str,
    pub of: fn(&Measured) -> f64,
}

pub const METRICS: [Metric; 7] = [
    Metric { name: "requests", unit: "/s", of: |m| m.requests as f64 / m.time.as_secs_f64() },
    Metric { name: "mean", unit: ", µs", of: |m| m.mean() / 1e3 },
    Metric { name: "p50", unit: ", µs", of: |m| m.quantile(0.5) / 1e3 },
    Metric { name: "p90", unit: ", µs", of: |m| m.quantile(0.9) / 1e3 },
    Metric { name: "p99", unit: ", µs", of: |m| m.quantile(0.99) / 1e3 },
    Metric { name: "p99.9", unit: ", µs", of: |m| m.quantile(0.999) / 1e3 },
    Metric {
        name: "CPU/request",
        unit: ", µs",
        of: |m| m.spent.all.as_secs_f64() * 1e6 / m.requests as f64,
    },
];

/// Without shunt, or with it, or with what every other accelerator does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Half {
    Off,
    On,
    Textbook,
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Half::Off => "off",
            Half::On => "on ",
            Half::Textbook => "textbook",
        })
    }
}

/// Where in [`METRICS`] the median latency is.
pub const P50: usize = 2;

/// A load in all rounds, without shunt and with it.
#[derive(Default)]
pub struct Series {
    pub off: Vec<Measured>,
    pub on: Vec<Measured>,
    /// Empty where it was not asked for.
    pub textbook: Vec<Measured>,
}

/// A metric of a [`Series`].
pub struct Summary {
    /// Medians over the rounds.
    pub off: f64,
    pub on: f64,
    /// on/off
    pub ratio: Ratio,
    /// on/textbook
    pub to_textbook: Option<Ratio>,
}

impl Series {
    pub fn half(&mut self, half: Half) -> &mut Vec<Measured> {
        match half {
            Half::Off => &mut self.off,
            Half::On => &mut self.on,
            Half::Textbook => &mut self.textbook,
        }
    }

    pub fn summary(&self, metric: &Metric) -> Summary {
        let values = |half: &[Measured]| half.iter().map(metric.of).collect::<Vec<_>>();
        let [off, on, textbook] = [&self.off, &self.on, &self.textbook].map(|half| values(half));
        Summary {
            off: median(&off),
            on: median(&on),
            ratio: Ratio::new(&on, &off),
            to_textbook: (!textbook.is_empty()).then(|| Ratio::new(&on, &textbook)),
        }
    }
}

/// The latencies of all rounds together.
pub fn merge(half: &[Measured]) -> Vec<(u64, u64)> {
    let mut all: Vec<_> = half.iter().flat_map(|m| m.latencies.clone()).collect();
    all.sort_unstable();
    all
}
