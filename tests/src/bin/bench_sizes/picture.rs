//! The ratios to plain TCP, as SVG: a panel for each load, a line for each number of connections.

use crate::{
    Row,
    cell::{CONNECTIONS, Load, SIZES, size},
};
use std::fmt::Write as _;

const WIDTH: f64 = 400.0;
const PANEL: f64 = 240.0;
const LEFT: f64 = 34.0;
const RIGHT: f64 = 350.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 200.0;
/// log2 of the ratios at the two ends of the axis.
const SCALE: [f64; 2] = [-1.0, 2.0];
const STYLE: &str = "
.paper{fill:#fff}.ink{fill:#1f2328}.faint{fill:#59636e}.axis{stroke:#d1d9e0}.even{stroke:#59636e}
.c0{stroke:#0969da}.c1{stroke:#8250df}.c2{stroke:#bf3989}.c3{stroke:#b35900}
.line{fill:none;stroke-width:1.8}text{font:12px system-ui,sans-serif}.title{font-weight:600}
@media(prefers-color-scheme:dark){.paper{fill:#0d1117}.ink{fill:#f0f6fc}.faint{fill:#9198a1}
.axis{stroke:#3d444d}.even{stroke:#9198a1}}
";

pub fn draw(rows: &[Row]) -> String {
    let panels = [(Load::Echo, "Echo"), (Load::Stream, "One-way stream")];
    let height = PANEL * panels.len() as f64;
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' role='img' \
         aria-label='Throughput of the short way over plain TCP by size of message'>\
         <style>{STYLE}</style><rect class='paper' width='{WIDTH}' height='{height}' rx='6'/>"
    );
    for (number, (load, title)) in panels.into_iter().enumerate() {
        let _ = write!(svg, "<g transform='translate(0 {})'>", PANEL * number as f64);
        let _ = write!(
            svg,
            "<text class='ink title' x='8' y='20'>{title}: times plain TCP, loopback</text>"
        );
        axes(&mut svg);
        for (class, connections) in CONNECTIONS.into_iter().enumerate() {
            line(&mut svg, rows, load, connections, class);
        }
        svg += "</g>";
    }
    svg + "</svg>\n"
}

fn x(place: usize) -> f64 {
    LEFT + (RIGHT - LEFT) * place as f64 / (SIZES.len() - 1) as f64
}

fn y(ratio: f64) -> f64 {
    let at = ratio.log2().clamp(SCALE[0], SCALE[1]);
    BOTTOM - (at - SCALE[0]) / (SCALE[1] - SCALE[0]) * (BOTTOM - TOP)
}

fn axes(svg: &mut String) {
    for ratio in [0.5, 1.0, 2.0, 4.0] {
        let (y, class) = (y(ratio), if ratio == 1.0 { "even" } else { "axis" });
        let _ = write!(
            svg,
            "<path class='{class}' d='M{LEFT} {y:.1}H{RIGHT}'/>\
             <text class='faint' x='8' y='{:.1}'>{ratio}</text>",
            y + 4.0
        );
    }
    for (place, bytes) in SIZES.into_iter().enumerate() {
        let _ = write!(
            svg,
            "<text class='faint' x='{:.1}' y='{}' text-anchor='middle'>{}</text>",
            x(place),
            BOTTOM + 18.0,
            size(bytes)
        );
    }
}

fn line(svg: &mut String, rows: &[Row], load: Load, connections: usize, class: usize) {
    let points: Vec<_> = rows
        .iter()
        .filter(|row| row.cell.load == load && row.cell.connections == connections)
        .filter_map(|row| {
            let place = SIZES.iter().position(|size| *size == row.cell.size)?;
            Some((x(place), y(row.shunt_to_plain().median)))
        })
        .collect();
    let Some((last_x, last_y)) = points.last() else { return };
    let path: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    let _ = write!(
        svg,
        "<path class='line c{class}' d='M{}'/><text class='ink' x='{:.1}' y='{:.1}'>x{connections}</text>",
        path.join("L"),
        last_x + 6.0,
        last_y + 4.0
    );
}
