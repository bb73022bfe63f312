//! Within one pod, by loopback.

use super::cells::{QUICK_SIZES, SIZES, bounds, cells, of_scene, scene};
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
    way::Way,
};

/// What knows no bounds would fill the memory with a stream.
const BOUNDED: [Way; 3] = [Way::Plain, Way::Unix, Way::Shunt];
const ALL: [Way; 4] = [Way::Plain, Way::Unix, Way::Shunt, Way::Naive];

fn usual(plan: &Plan, load: Load, connections: &[usize]) -> Vec<Cell> {
    cells(load, &plan.pick(&QUICK_SIZES, &SIZES), &plan.pick(&[1, 64], connections))
}

pub fn echo(plan: &Plan) -> Scene {
    let cells = usual(plan, Load::Echo, &[1, 4, 8, 64]);
    let of = cells.iter().map(|&cell| {
        let mut bounds = bounds(cell, &ALL);
        let is_headline = (cell.size, cell.connections) == (1024, 64);
        if is_headline {
            bounds.push(Bound::new(Metric::Requests, Way::Shunt, Way::Plain, 2.0));
        }
        crate::scene::Cell { is_headline, ..of_scene(cell, &ALL, bounds, plan) }
    });
    let of = of.collect();
    Scene {
        name: "hop-echo",
        title: "Loopback, echo",
        note: "A message goes, the same comes back, then the next; one thread at each end.",
        ..scene(plan, ALL.into(), Distance::Loopback, (cells, of))
    }
}

pub fn one_way(plan: &Plan) -> Scene {
    let cells = usual(plan, Load::Stream, &[1, 4, 64]);
    let of = cells.iter().map(|&it| of_scene(it, &BOUNDED, bounds(it, &BOUNDED), plan)).collect();
    Scene {
        name: "hop-oneway",
        title: "Loopback, one-way",
        note: "Messages go one way, as fast as they are taken. Without naive, which would fill the memory.",
        ..scene(plan, BOUNDED.into(), Distance::Loopback, (cells, of))
    }
}

/// Where a bound is felt.
pub fn full_queues(plan: &Plan) -> Scene {
    let few = [1, 64];
    // Just above what may be queued at first on kernels that charge the reader, too.
    let paused = plan.pick(&[64 << 10], &[64 << 10, (64 << 10) + 1, (2 << 20) + 1]);
    let small = plan.pick(&[16 << 10], &[1 << 10, 16 << 10, 64 << 10]);
    let all = [
        cells(Load::Beside, &[1 << 10], &few),
        cells(Load::Pauses, &paused, &few),
        cells(Load::SmallBuffers, &small, &few),
    ]
    .concat();
    let of = all.iter().map(|&it| of_scene(it, &BOUNDED, bounds(it, &BOUNDED), plan)).collect();
    Scene {
        name: "hop-queues",
        title: "Loopback, full queues",
        note: "Readers that pause, buffers that the application has set, and an echo beside 100 connections \
               whose reader never reads.",
        picture: Picture::Nothing,
        ..scene(plan, BOUNDED.into(), Distance::Loopback, (all, of))
    }
}
