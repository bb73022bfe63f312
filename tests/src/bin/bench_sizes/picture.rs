//! The ratios to plain TCP, as SVG: a panel for each load, a line for each number of connections.

use crate::{
    Row,
    cell::{CONNECTIONS, Load, SIZES, size},
};
use tests::{
    lines::{self, Line, Panel},
    picture::picture,
    scale::Scale,
};

/// Ratios at the two ends of the axis.
const SCALE: [f64; 2] = [0.5, 5.0];
const STYLE: &str = "
.c0{fill:#0969da;stroke:#0969da}.c1{fill:#8250df;stroke:#8250df}
.c2{fill:#bf3989;stroke:#bf3989}.c3{fill:#b35900;stroke:#b35900}
";

pub fn draw(rows: &[Row]) -> String {
    let places = SIZES.map(size);
    let panel = |(load, title)| {
        let panel = Panel {
            title,
            places: &places,
            right: 350.0,
            scale: Scale::new(SCALE, lines::PIXELS),
            tick: |ratio| ratio.to_string(),
            even: Some(1.0),
        };
        let lines = CONNECTIONS.iter().enumerate().map(|(class, connections)| Line {
            class: format!("c{class}"),
            name: format!("x{connections}"),
            points: points(rows, load, *connections),
        });
        panel.draw(&lines.collect::<Vec<_>>())
    };
    let panels = [
        (Load::Echo, "Echo: times plain TCP, loopback"),
        (Load::Stream, "One-way stream: times plain TCP, loopback"),
    ];
    picture(
        "Throughput of the short way over plain TCP by size of message",
        &[lines::STYLE, STYLE].concat(),
        lines::HEIGHT,
        &panels.map(panel),
    )
}

fn points(rows: &[Row], load: Load, connections: usize) -> Vec<(usize, f64)> {
    let rows =
        rows.iter().filter(|row| (row.cell.load, row.cell.connections) == (load, connections));
    let point = |row: &Row| {
        let place = SIZES.iter().position(|size| *size == row.cell.size)?;
        Some((place, row.shunt_to_plain().median.clamp(SCALE[0], SCALE[1])))
    };
    rows.filter_map(point).collect()
}
