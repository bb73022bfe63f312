//! Numbers as rows of text, for the terminal and for the report.

use crate::{
    evidence::Evidence,
    stats::{METRICS, Metric, Series},
};
use shim::layout::{Counters, Traffic};

pub const COMPARISON: [&str; 4] = ["", "off", "on", "on/off"];
pub const COUNTERS: [&str; 3] = ["messages of", "short way", "by TCP"];

/// Per metric: medians without and with shunt, and the ratio with its least and greatest.
pub fn comparison(series: &Series) -> Vec<Vec<String>> {
    let row = |metric: &Metric| {
        let Metric { name, unit, .. } = metric;
        let of = series.summary(metric);
        vec![
            format!("{name}{unit}"),
            format!("{:.0}", of.off),
            format!("{:.0}", of.on),
            of.ratio.to_string(),
        ]
    };
    METRICS.iter().map(row).collect()
}

/// Per pod: what it sent which way.
pub fn counters(evidence: &Evidence) -> Vec<Vec<String>> {
    let row = |(name, counters): &(String, Counters)| {
        vec![format!("pod {name}"), amount(counters.shunted), amount(counters.by_tcp)]
    };
    evidence.pods.iter().map(row).collect()
}

fn amount(traffic: Traffic) -> String {
    format!("{} ({:.1} MiB)", traffic.messages, traffic.bytes as f64 / f64::from(1 << 20))
}
