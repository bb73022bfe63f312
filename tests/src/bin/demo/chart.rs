//! Two latency histograms over each other, as SVG.

use crate::stats::{METRICS, P50, Series, Summary, merge};
use tests::{
    histogram::{self, Curve, HEIGHT, STYLE},
    picture,
};

/// A panel of [`picture()`].
pub fn chart(title: &str, series: &Series) -> String {
    let [requests, latency, .., cpu] = METRICS.each_ref().map(|m| series.summary(m).ratio.median);
    let note =
        format!("{requests:.2} × requests/s, {latency:.2} × latency, {cpu:.2} × CPU per request");
    let Summary { off, on, .. } = series.summary(&METRICS[P50]);
    let curve = |class, name: &str, half, micros| Curve {
        class,
        name: name.into(),
        latencies: merge(half),
        median: micros * 1e3,
    };
    let curves =
        [curve("off", "without", &series.off, off), curve("on", "with shunt", &series.on, on)];
    histogram::panel(title, &note, &curves)
}

/// All charts in one picture of its own.
pub fn picture(charts: &[String]) -> String {
    const LABEL: &str = "Latency of requests between two pods of a mesh, without and with shunt";
    picture::picture(LABEL, STYLE, HEIGHT, charts)
}
