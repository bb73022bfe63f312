//! Numbers as rows of text, for the terminal and for the report.

use crate::{
    evidence::Evidence,
    stats::{METRICS, Metric, Series},
};
use shim::layout::{Counters, Traffic};

/// The last where it was measured.
const COMPARISON: [&str; 5] = ["", "off", "on", "on/off", "on/textbook"];
pub const COUNTERS: [&str; 3] = ["messages of", "short way", "by TCP"];

pub fn head(series: &Series) -> &'static [&'static str] {
    let columns = if series.textbook.is_empty() { 4 } else { 5 };
    &COMPARISON[..columns]
}

/// Per metric: medians without and with shunt, and the ratio with its least and greatest.
pub fn comparison(series: &Series) -> Vec<Vec<String>> {
    let row = |metric: &Metric| {
        let Metric { name, unit, .. } = metric;
        let of = series.summary(metric);
        let mut row = vec![
            format!("{name}{unit}"),
            format!("{:.0}", of.off),
            format!("{:.0}", of.on),
            of.ratio.to_string(),
        ];
        row.extend(of.to_textbook.map(|ratio| ratio.to_string()));
        row
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
