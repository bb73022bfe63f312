//! Connections to what is no pod of this node.

use crate::{
    bound::Bound,
    hop::{
        cell::{Cell, Load},
        place::Distance,
    },
    metric::Metric,
    plan::Plan,
    report::Picture,
    scene::Scene,
    scenes::hop::cells::{of_scene, scene as hop},
    way::Way,
};

const WAYS: [Way; 3] = [Way::Plain, Way::Shunt, Way::Naive];

pub fn scene(plan: &Plan) -> Scene {
    let cell = |load, connections| Cell { load, size: 1024, connections };
    let cells = vec![
        cell(Load::Echo, 1),
        cell(Load::Echo, 64),
        cell(Load::Connect, 1),
        cell(Load::Connect, 16),
    ];
    let of = cells.iter().map(|&cell| {
        let bound = Bound::new(Metric::Requests, Way::Shunt, Way::Plain, 0.99);
        let is_headline = cell.connections > 1;
        crate::scene::Cell { is_headline, ..of_scene(cell, &WAYS, vec![bound], plan) }
    });
    let of = of.collect();
    Scene {
        name: "leaving",
        title: "Leaving the node",
        note: "The server is in a network namespace that is no pod of shunt's, as if on another node.",
        picture: Picture::Nothing,
        ..hop(plan, WAYS.into(), Distance::Away, (cells, of))
    }
}
