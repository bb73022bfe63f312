//! Two latency histograms over each other, as SVG.

use crate::stats::{METRICS, P50, Series, Summary, merge, quantile};
use std::fmt::Write;
use tests::{
    picture,
    scale::{self, Scale},
};

/// In units of a phone's pixels.
const HEIGHT: f64 = 232.0;
const LEFT: f64 = 10.0;
const RIGHT: f64 = 390.0;
const TOP: f64 = 82.0;
const BOTTOM: f64 = 198.0;
const BINS_PER_OCTAVE: f64 = 12.0;

const STYLE: &str = "
.area{fill-opacity:.28;stroke-width:1.5;stroke-linejoin:round}
.median{stroke-width:1.5;stroke-dasharray:4 3}
";

/// A panel of [`picture()`].
pub fn chart(title: &str, series: &Series) -> String {
    let (off, on) = (merge(&series.off), merge(&series.on));
    let ends = |share| [quantile(&off, share), quantile(&on, share)];
    let least = ends(0.002).into_iter().fold(f64::INFINITY, f64::min);
    let greatest = ends(0.998).into_iter().fold(0.0, f64::max);
    let quarter = 2f64.powf(0.25);
    let axis = Scale::new([least / quarter, greatest * quarter], [LEFT, RIGHT]);
    let (off_bins, on_bins) = (bins(&axis, &off), bins(&axis, &on));
    let peak = off_bins.iter().chain(&on_bins).copied().fold(0.0, f64::max);

    let [requests, latency, .., cpu] = METRICS.each_ref().map(|m| series.summary(m).ratio.median);
    let mut svg = format!(
        "<text class='ink title' x='{LEFT}' y='24'>{title}</text>\
         <text class='faint' x='{LEFT}' y='43'>{requests:.2} × requests/s, \
         {latency:.2} × latency, {cpu:.2} × CPU per request</text>"
    );
    draw(&axis, &mut svg);
    area(&mut svg, "off", &off_bins, peak);
    area(&mut svg, "on", &on_bins, peak);
    // As the table has it.
    let Summary { off, on, .. } = series.summary(&METRICS[P50]);
    let (off, on) = (off * 1e3, on * 1e3);
    median(&mut svg, "off", "without", axis.at(off), off, off >= on);
    median(&mut svg, "on", "with shunt", axis.at(on), on, on > off);
    svg
}

/// All charts in one picture of its own.
pub fn picture(charts: &[String]) -> String {
    const LABEL: &str = "Latency of requests between two pods of a mesh, without and with shunt";
    picture::picture(LABEL, STYLE, HEIGHT, charts)
}

/// Share of requests per bin.
fn bins(axis: &Scale, latencies: &[(u64, u64)]) -> Vec<f64> {
    let count = (axis.octaves() * BINS_PER_OCTAVE).ceil() as usize;
    let mut bins = vec![0.0; count];
    let total: u64 = latencies.iter().map(|bin| bin.1).sum();
    for &(ns, requests) in latencies {
        let at = axis.share(ns as f64) * count as f64;
        if at >= 0.0
            && let Some(bin) = bins.get_mut(at as usize)
        {
            *bin += requests as f64 / total as f64;
        }
    }
    bins
}

fn draw(axis: &Scale, svg: &mut String) {
    for ns in axis.ticks() {
        let _ = write!(
            svg,
            "<path class='axis' d='M{x:.1} {TOP}V{BOTTOM}'/>\
             <text class='faint' x='{x:.1}' y='{y}' text-anchor='middle'>{label}</text>",
            x = axis.at(ns),
            y = BOTTOM + 18.0,
            label = scale::time(ns),
        );
    }
    let _ = write!(svg, "<path class='axis' d='M{LEFT} {BOTTOM}H{RIGHT}'/>");
}

fn area(svg: &mut String, class: &str, bins: &[f64], peak: f64) {
    let step = (RIGHT - LEFT) / bins.len() as f64;
    let _ = write!(svg, "<path class='area {class}' d='M{LEFT} {BOTTOM}");
    for (number, share) in bins.iter().enumerate() {
        let x = LEFT + (number as f64 + 0.5) * step;
        let y = BOTTOM - share / peak * (BOTTOM - TOP);
        let _ = write!(svg, "L{x:.1} {y:.1}");
    }
    let _ = write!(svg, "L{RIGHT} {BOTTOM}Z'/>");
}

/// The greater median's label stands right of its line, the other's left.
fn median(svg: &mut String, class: &str, name: &str, x: f64, ns: f64, right: bool) {
    let (anchor, text_x) = if right { ("start", x + 4.0) } else { ("end", x - 4.0) };
    let _ = write!(
        svg,
        "<path class='median {class}' d='M{x:.1} {y}V{BOTTOM}'/>\
         <text class='{class}' x='{text_x:.1}' y='{text_y}' text-anchor='{anchor}'>{name} {label}</text>",
        y = TOP - 20.0,
        text_y = TOP - 10.0,
        label = scale::time(ns),
    );
}
