//! Two latency histograms over each other, as SVG.

use crate::stats::{METRICS, P50, Series, Summary, merge, quantile};
use std::fmt::Write;

/// In units of a phone's pixels.
pub const WIDTH: f64 = 400.0;
pub const HEIGHT: f64 = 232.0;
const LEFT: f64 = 10.0;
const RIGHT: f64 = 390.0;
const TOP: f64 = 82.0;
const BOTTOM: f64 = 198.0;
const BINS_PER_OCTAVE: f64 = 12.0;

/// Colours for light and dark surroundings.
pub const STYLE: &str = "
.paper{fill:#fff}.ink{fill:#1f2328}.faint{fill:#59636e}.line{stroke:#d1d9e0}
.off{fill:#b35900;stroke:#b35900}.on{fill:#0969da;stroke:#0969da}
.area{fill-opacity:.28;stroke-width:1.5;stroke-linejoin:round}
.median{stroke-width:1.5;stroke-dasharray:4 3}
text{font:12px system-ui,sans-serif}text.off,text.on{stroke:none;font-weight:600}
.title{font-size:15px;font-weight:600}
@media(prefers-color-scheme:dark){.paper{fill:#0d1117}.ink{fill:#f0f6fc}.faint{fill:#9198a1}
.line{stroke:#3d444d}.off{fill:#f0a04b;stroke:#f0a04b}.on{fill:#58a6ff;stroke:#58a6ff}}
";

/// One chart, [`WIDTH`] by [`HEIGHT`], to be put into an `svg` element that has [`STYLE`].
pub fn chart(title: &str, series: &Series) -> String {
    let (off, on) = (merge(&series.off), merge(&series.on));
    let ends = |share| [quantile(&off, share), quantile(&on, share)];
    let least = ends(0.002).into_iter().fold(f64::INFINITY, f64::min);
    let greatest = ends(0.998).into_iter().fold(0.0, f64::max);
    let axis = Axis { from: least.log2() - 0.25, to: greatest.log2() + 0.25 };
    let (off_bins, on_bins) = (axis.bins(&off), axis.bins(&on));
    let peak = off_bins.iter().chain(&on_bins).copied().fold(0.0, f64::max);

    let [requests, latency, .., cpu] = METRICS.each_ref().map(|m| series.summary(m).ratio.median);
    let mut svg = format!(
        "<text class='ink title' x='{LEFT}' y='24'>{title}</text>\
         <text class='faint' x='{LEFT}' y='43'>{requests:.2} × requests/s, \
         {latency:.2} × latency, {cpu:.2} × CPU per request</text>"
    );
    axis.draw(&mut svg);
    area(&mut svg, "off", &off_bins, peak);
    area(&mut svg, "on", &on_bins, peak);
    // As the table has it.
    let Summary { off, on, .. } = series.summary(&METRICS[P50]);
    let (off, on) = (off * 1e3, on * 1e3);
    median(&mut svg, "off", "without", axis.x(off), off, off >= on);
    median(&mut svg, "on", "with shunt", axis.x(on), on, on > off);
    svg
}

/// All charts in one picture of its own.
pub fn picture(charts: &[String]) -> String {
    let height = HEIGHT * charts.len() as f64;
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' role='img' \
         aria-label='Latency of requests between two pods of a mesh, without and with shunt'>\
         <style>{STYLE}</style><rect class='paper' width='{WIDTH}' height='{height}' rx='6'/>"
    );
    for (number, chart) in charts.iter().enumerate() {
        let y = HEIGHT * number as f64;
        let _ = write!(svg, "<g transform='translate(0 {y})'>{chart}</g>");
    }
    svg + "</svg>\n"
}

/// Latency in nanoseconds, logarithmic.
struct Axis {
    /// log2
    from: f64,
    to: f64,
}

impl Axis {
    fn x(&self, ns: f64) -> f64 {
        LEFT + (ns.log2() - self.from) / (self.to - self.from) * (RIGHT - LEFT)
    }

    /// Share of requests per bin.
    fn bins(&self, latencies: &[(u64, u64)]) -> Vec<f64> {
        let count = ((self.to - self.from) * BINS_PER_OCTAVE).ceil() as usize;
        let mut bins = vec![0.0; count];
        let total: u64 = latencies.iter().map(|bin| bin.1).sum();
        for &(ns, requests) in latencies {
            let at = ((ns as f64).log2() - self.from) / (self.to - self.from) * count as f64;
            if at >= 0.0
                && let Some(bin) = bins.get_mut(at as usize)
            {
                *bin += requests as f64 / total as f64;
            }
        }
        bins
    }

    fn draw(&self, svg: &mut String) {
        let decades = (self.from / 10f64.log2()) as i32..=(self.to / 10f64.log2()) as i32;
        let ticks = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|n| n * 10f64.powi(decade)));
        for ns in ticks.filter(|ns| (self.from..self.to).contains(&ns.log2())) {
            let _ = write!(
                svg,
                "<path class='line' d='M{x:.1} {TOP}V{BOTTOM}'/>\
                 <text class='faint' x='{x:.1}' y='{y}' text-anchor='middle'>{label}</text>",
                x = self.x(ns),
                y = BOTTOM + 18.0,
                label = label(ns),
            );
        }
        let _ = write!(svg, "<path class='line' d='M{LEFT} {BOTTOM}H{RIGHT}'/>");
    }
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
        label = label(ns),
    );
}

fn label(ns: f64) -> String {
    match ns {
        ..1e6 => format!("{:.0} µs", ns / 1e3),
        ..1e7 if ns % 1e6 > 0.0 => format!("{:.1} ms", ns / 1e6),
        _ => format!("{:.0} ms", ns / 1e6),
    }
}
