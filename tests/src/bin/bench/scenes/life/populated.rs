//! Two pods on a node that is full of pods.

use crate::{
    bound::Bound,
    hop::{
        cell::{Cell, Load},
        place::{Distance, Place},
        stage::HopStage,
    },
    metric::Metric,
    plan::Plan,
    report::Picture,
    scene::Scene,
    scenes::hop::cells::{of_scene, scene as hop},
    way::Way,
};
use anyhow::Result;
use std::time::Duration;
use tests::populated::Populated;

const WAYS: [Way; 3] = [Way::Plain, Way::Shunt, Way::Naive];

pub fn scene(plan: &Plan) -> Scene {
    let pods = if plan.quick { 200 } else { 1000 };
    let cells: Vec<_> =
        [1, 64].map(|connections| Cell { load: Load::Echo, size: 1024, connections }).into();
    let of = cells.iter().map(|&cell| {
        let bound = Bound::new(Metric::Requests, Way::Shunt, Way::Plain, 1.0);
        let is_headline = cell.connections == 64;
        crate::scene::Cell {
            name: format!("{pods} pods, {cell}"),
            is_headline,
            ..of_scene(cell, &WAYS, vec![bound], plan)
        }
    });
    let of = of.collect();
    let window = plan.hop_window;
    let used = cells.clone();
    Scene {
        name: "full-node",
        title: "A node full of pods",
        note: "An echo between two pods, where shunt knows a thousand others (with --quick 200).",
        picture: Picture::Nothing,
        // It takes longer to fill a node than to measure on it.
        rounds: Some(3),
        setup: Duration::from_millis(12 * pods),
        open: Box::new(move |_| {
            let Populated { node, .. } = Populated::new(pods as u32)?;
            let place = |way: &Way| Place::new(&node, *way, Distance::Veth);
            let places = WAYS.iter().map(place).collect::<Result<_>>()?;
            Ok(Box::new(HopStage { places, cells: used.clone(), window, is_short: true, node }))
        }),
        ..hop(plan, WAYS.into(), Distance::Veth, (cells, of))
    }
}
