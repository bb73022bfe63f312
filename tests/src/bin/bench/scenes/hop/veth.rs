//! Between two pods, by veth and a bridge.

use super::cells::{QUICK_SIZES, SIZES, bounds, cells, of_scene, scene};
use crate::{
    hop::{
        cell::{Cell, Load},
        place::Distance,
    },
    plan::Plan,
    scene::Scene,
    way::Way,
};

const ALL: [Way; 3] = [Way::Plain, Way::Shunt, Way::Naive];
const BOUNDED: [Way; 2] = [Way::Plain, Way::Shunt];

fn usual(plan: &Plan, load: Load) -> Vec<Cell> {
    cells(load, &plan.pick(&QUICK_SIZES, &SIZES), &plan.pick(&[1, 64], &[1, 4, 64]))
}

pub fn echo(plan: &Plan) -> Scene {
    let cells = usual(plan, Load::Echo);
    let of = cells.iter().map(|&cell| {
        let is_headline = (cell.size, cell.connections) == (1024, 64);
        crate::scene::Cell { is_headline, ..of_scene(cell, &ALL, bounds(cell, &ALL), plan) }
    });
    let of = of.collect();
    Scene {
        name: "veth-echo",
        title: "Two pods, echo",
        note: "As on loopback, between two pods without a mesh.",
        ..scene(plan, ALL.into(), Distance::Veth, (cells, of))
    }
}

pub fn one_way(plan: &Plan) -> Scene {
    let cells = usual(plan, Load::Stream);
    let of = cells.iter().map(|&it| of_scene(it, &BOUNDED, bounds(it, &BOUNDED), plan)).collect();
    Scene {
        name: "veth-oneway",
        title: "Two pods, one-way",
        note: "As on loopback, between two pods without a mesh.",
        ..scene(plan, BOUNDED.into(), Distance::Veth, (cells, of))
    }
}
