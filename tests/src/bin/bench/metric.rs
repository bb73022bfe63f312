//! A number that is measured.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// By the second; messages, where they go one way.
    Requests,
    /// Of the whole machine for each request, in microseconds.
    Cpu,
    /// Latencies in microseconds.
    Mean,
    P50,
    P99,
    /// The sk_msg program, nanoseconds a run.
    Program,
    /// Share of the bytes that shunt's pods sent, 0 to 1.
    ShortWay,
    /// Bytes for each connection, both ends: in shunt's maps, and in all of the kernel.
    Maps,
    Kernel,
    /// Share of the connections that are in the sockhash, 0 to 1.
    Entered,
}

/// One measurement.
pub type Sample = BTreeMap<Metric, f64>;

impl Metric {
    pub fn more_is_better(self) -> bool {
        matches!(self, Metric::Requests | Metric::ShortWay | Metric::Entered)
    }

    pub fn text(self, value: f64) -> String {
        match self {
            Metric::Requests | Metric::Program | Metric::Maps | Metric::Kernel => {
                format!("{value:.0}")
            }
            Metric::ShortWay | Metric::Entered => format!("{:.1} %", value * 100.0),
            _ if value < 100.0 => format!("{value:.1}"),
            _ => format!("{value:.0}"),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Metric::Requests => "requests/s",
            Metric::Cpu => "CPU µs",
            Metric::Mean => "mean µs",
            Metric::P50 => "p50 µs",
            Metric::P99 => "p99 µs",
            Metric::Program => "ns a run",
            Metric::ShortWay => "short way",
            Metric::Maps => "B in maps",
            Metric::Kernel => "B in the kernel",
            Metric::Entered => "in the sockhash",
        })
    }
}
