//! What a scene's rows look like.

use crate::{
    metric::Metric,
    report::{Picture, Row, SceneReport},
    way::Way,
};
use tests::{
    histogram::{self, Curve},
    lines::{self, Line, Panel},
    picture::picture,
    scale::Scale,
};

const STYLE: &str = "
.unix{fill:#59636e;stroke:#59636e}
.c0{fill:#0969da;stroke:#0969da}.c1{fill:#8250df;stroke:#8250df}
.c2{fill:#bf3989;stroke:#bf3989}.c3{fill:#b35900;stroke:#b35900}
";

/// An SVG, if there is something to be drawn.
pub fn draw(scene: &SceneReport) -> Option<String> {
    let style = [lines::STYLE, histogram::STYLE, STYLE].concat();
    match scene.picture {
        Picture::Nothing => None,
        Picture::Latencies => {
            let rows = scene.rows.iter().filter(|row| !row.latencies.is_empty());
            let panels: Vec<_> = rows.map(|row| latencies(scene, row)).collect();
            (!panels.is_empty()).then(|| picture(&scene.title, &style, histogram::HEIGHT, &panels))
        }
        Picture::Ways => {
            let ways = scene.ways.iter().map(|way| Line {
                class: class(*way).into(),
                name: way.to_string(),
                points: points(scene, |row| row.median(*way, Metric::Requests)),
            });
            over_places(scene, "requests a second", ways.collect(), None, &style)
        }
        Picture::Ratios => {
            let mut names: Vec<_> = places(scene, |(line, _)| line);
            names.truncate(4);
            let line = |(number, name): (usize, &String)| Line {
                class: format!("c{number}"),
                name: name.clone(),
                points: points(scene, |row| {
                    let is_it = row.at.as_ref().is_some_and(|(line, _)| line == name);
                    let ratio = row.ratio(Metric::Requests, Way::Shunt, Way::Plain)?;
                    is_it.then_some(ratio.median)
                }),
            };
            let all = names.iter().enumerate().map(line).collect();
            over_places(scene, "times plain TCP", all, Some(1.0), &style)
        }
    }
}

/// The rows' lines or places, each once, in the rows' order.
fn places<'a>(scene: &'a SceneReport, of: fn(&'a (String, String)) -> &'a String) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in scene.rows.iter().filter_map(|row| row.at.as_ref()).map(of) {
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    all
}

fn points(scene: &SceneReport, of: impl Fn(&Row) -> Option<f64>) -> Vec<(usize, f64)> {
    let places = places(scene, |(_, place)| place);
    let point = |row: &Row| {
        let (_, place) = row.at.as_ref()?;
        Some((places.iter().position(|one| one == place)?, of(row)?))
    };
    scene.rows.iter().filter_map(point).collect()
}

fn over_places(
    scene: &SceneReport,
    what: &str,
    lines: Vec<Line>,
    even: Option<f64>,
    style: &str,
) -> Option<String> {
    let places = places(scene, |(_, place)| place);
    let values = lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
    let values: Vec<_> = values.chain(even).collect();
    if places.len() < 2 || values.is_empty() {
        return None;
    }
    let panel = Panel {
        title: &format!("{}: {what}", scene.title),
        places: &places,
        right: 340.0,
        scale: Scale::around(values.into_iter(), lines::PIXELS),
        tick: if even.is_some() { |ratio| ratio.to_string() } else { thousands },
        even,
    };
    Some(picture(&scene.title, style, lines::HEIGHT, &[panel.draw(&lines)]))
}

fn latencies(scene: &SceneReport, row: &Row) -> String {
    let curve = |way: &Way| {
        Some(Curve {
            class: class(*way),
            name: way.to_string(),
            latencies: row.latencies.get(way)?.clone(),
            median: row.median(*way, Metric::P50)? * 1e3,
        })
    };
    let curves: Vec<_> = scene.ways.iter().filter_map(curve).collect();
    let mean = |way| row.ratio(Metric::Mean, way, Way::Plain).map_or(0.0, |ratio| ratio.median);
    let p99 = |way| row.ratio(Metric::P99, way, Way::Plain).map_or(0.0, |ratio| ratio.median);
    let note = format!(
        "shunt {:.2} × plain's mean, {:.2} × its p99; medians:",
        mean(Way::Shunt),
        p99(Way::Shunt)
    );
    histogram::panel(&row.cell, &note, &curves)
}

/// Of the picture's style.
fn class(way: Way) -> &'static str {
    match way {
        Way::Plain => "off",
        Way::Shunt => "on",
        Way::Naive => "naive",
        _ => "unix",
    }
}

fn thousands(rate: f64) -> String {
    if rate < 1000.0 { rate.to_string() } else { format!("{}k", rate / 1000.0) }
}
