//! What was measured, and what it comes to over several rounds.

use tests::{
    latency::{self, Latencies, Measured},
    ratio::{Ratio, median},
    sidecars::Half,
};

/// A number that a load is judged by.
pub struct Metric {
    pub name: &'static str,
    pub unit: &'static str,
    pub of: fn(&Measured) -> f64,
}

pub const METRICS: [Metric; 7] = [
    Metric { name: "requests", unit: "/s", of: Measured::rate },
    Metric { name: "mean", unit: ", µs", of: |m| m.mean() / 1e3 },
    Metric { name: "p50", unit: ", µs", of: |m| m.quantile(0.5) / 1e3 },
    Metric { name: "p90", unit: ", µs", of: |m| m.quantile(0.9) / 1e3 },
    Metric { name: "p99", unit: ", µs", of: |m| m.quantile(0.99) / 1e3 },
    Metric { name: "p99.9", unit: ", µs", of: |m| m.quantile(0.999) / 1e3 },
    Metric { name: "CPU/request", unit: ", µs", of: Measured::cpu },
];

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
pub fn merge(half: &[Measured]) -> Latencies {
    latency::merge(half.iter().map(|measured| &measured.latencies))
}
