//! Latency histograms over each other, as a panel of a [`picture`](crate::picture).

use crate::{
    latency::{Latencies, quantile},
    scale::{self, Scale},
};
use std::fmt::Write;

/// In units of a phone's pixels.
pub const HEIGHT: f64 = 232.0;
const LEFT: f64 = 10.0;
const RIGHT: f64 = 390.0;
const TOP: f64 = 82.0;
const BOTTOM: f64 = 198.0;
const BINS_PER_OCTAVE: f64 = 12.0;

pub const STYLE: &str = "
.area{fill-opacity:.28;stroke-width:1.5;stroke-linejoin:round}
.median{stroke-width:1.5;stroke-dasharray:4 3}
";

pub struct Curve {
    /// Of the picture's style.
    pub class: &'static str,
    pub name: String,
    pub latencies: Latencies,
    /// Nanoseconds, as the table has it.
    pub median: f64,
}

/// `note` stands below the title.
pub fn panel(title: &str, note: &str, curves: &[Curve]) -> String {
    let ends = |share| curves.iter().map(move |curve| quantile(&curve.latencies, share));
    let least = ends(0.002).fold(f64::INFINITY, f64::min);
    let greatest = ends(0.998).fold(0.0, f64::max);
    let quarter = 2f64.powf(0.25);
    let axis = Scale::new([least / quarter, greatest * quarter], [LEFT, RIGHT]);
    let all: Vec<_> = curves.iter().map(|curve| bins(&axis, &curve.latencies)).collect();
    let peak = all.iter().flatten().copied().fold(0.0, f64::max);

    let mut svg = format!(
        "<text class='ink title' x='{LEFT}' y='24'>{title}</text>\
         <text class='faint' x='{LEFT}' y='43'>{note}</text>"
    );
    draw(&axis, &mut svg);
    for (curve, bins) in curves.iter().zip(&all) {
        area(&mut svg, curve.class, bins, peak);
    }
    for (number, curve) in curves.iter().enumerate() {
        let x = axis.at(curve.median);
        let place = match curves.len() {
            // The greater median's label stands right of its line, the other's left.
            2 if curve.median >= curves[1 - number].median => ("start", x + 4.0, TOP - 10.0),
            2 => ("end", x - 4.0, TOP - 10.0),
            _ => ("end", RIGHT, TOP - 20.0 + 16.0 * number as f64),
        };
        median(&mut svg, curve, x, place);
    }
    svg
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

fn median(svg: &mut String, curve: &Curve, x: f64, (anchor, text_x, text_y): (&str, f64, f64)) {
    let Curve { class, name, median, .. } = curve;
    let _ = write!(
        svg,
        "<path class='median {class}' d='M{x:.1} {y}V{BOTTOM}'/>\
         <text class='{class}' x='{text_x:.1}' y='{text_y}' text-anchor='{anchor}'>{name} {label}</text>",
        y = TOP - 20.0,
        label = scale::time(*median),
    );
}
