//! One hop's cells, and what they should reach.

use crate::{
    bound::Bound,
    hop::{
        cell::{Cell, Load, size},
        place::{Distance, Place},
        stage::{HopStage, takes},
    },
    metric::Metric,
    plan::Plan,
    report::Picture,
    scene::{self, Scene},
    way::Way,
};
use anyhow::Result;
use std::time::Duration;
use tests::node::Node;

pub const SIZES: [usize; 6] = [64, 1 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
pub const QUICK_SIZES: [usize; 3] = [64, 1 << 10, 64 << 10];

/// A pod or two for each way, and their end.
const SETUP: Duration = Duration::from_millis(1500);

pub fn cells(load: Load, sizes: &[usize], connections: &[usize]) -> Vec<Cell> {
    let all = sizes.iter().flat_map(|&size| connections.iter().map(move |&n| (size, n)));
    all.map(|(size, connections)| Cell { load, size, connections }).collect()
}

/// `ways`: what bears the load.
pub fn of_scene(cell: Cell, ways: &[Way], bounds: Vec<Bound>, plan: &Plan) -> scene::Cell {
    let is_usual = matches!(cell.load, Load::Echo | Load::Stream);
    scene::Cell {
        name: cell.to_string(),
        ways: ways.to_vec(),
        bounds,
        takes: takes(cell, plan.hop_window),
        at: is_usual.then(|| (format!("x{}", cell.connections), size(cell.size))),
        bytes: (!cell.load.is_answered()).then_some(cell.size as f64),
        is_headline: false,
    }
}

/// No less than plain TCP; on few connections no less than the slower of that and AF_UNIX.
pub fn bounds(cell: Cell, ways: &[Way]) -> Vec<Bound> {
    let has_unix = ways.contains(&Way::Unix);
    vec![match cell.connections {
        ..=4 if has_unix => Bound::slower_of(Way::Shunt, &[Way::Plain, Way::Unix], 1.0),
        _ => Bound::new(Metric::Requests, Way::Shunt, Way::Plain, 1.0).beyond_spread(),
    }]
}

/// Of all scenes of one hop; `of` its cells.
pub fn scene(
    plan: &Plan,
    ways: Vec<Way>,
    distance: Distance,
    (cells, of): (Vec<Cell>, Vec<scene::Cell>),
) -> Scene {
    let window = plan.hop_window;
    let used = ways.clone();
    Scene {
        name: "",
        title: "",
        note: "",
        ways,
        metrics: vec![Metric::Requests, Metric::Cpu],
        cells: of,
        is_short: false,
        picture: Picture::Ratios,
        rounds: None,
        setup: SETUP,
        open: Box::new(move |_| {
            let node = Node::new("bench")?;
            let place = |way: &Way| Place::new(&node, *way, distance);
            let places = used.iter().map(place).collect::<Result<_>>()?;
            let is_short = distance != Distance::Away;
            Ok(Box::new(HopStage { places, cells: cells.clone(), window, is_short, node }))
        }),
    }
}
