//! fortio at both ends, as fast as it can and at a rate that plain TCP bears.

use super::cell::{self, Cell, Load};
use crate::{
    bound::Bound, fortio::Protocol, metric::Metric, plan::Plan, report::Picture, scene::Scene,
    way::Way,
};

pub fn scene(plan: &Plan) -> Scene {
    let protocols = [("TCP", Protocol::Tcp), ("HTTP", Protocol::Http)];
    let loads = protocols.map(|(name, protocol)| {
        [
            (format!("{name}, all it can"), Load::Fortio(protocol)),
            (format!("{name}, 0.7 of plain's"), Load::FortioAt(protocol)),
        ]
    });
    let loads = loads.as_flattened();
    let cells = loads.iter().map(|(_, load)| Cell { load: *load, connections: 64, size: 1024 });
    let mut scene = cell::scene(plan, cells.collect());
    for (cell, (name, load)) in scene.cells.iter_mut().zip(loads) {
        cell.name.clone_from(name);
        if matches!(load, Load::FortioAt(_)) {
            // All have the same rate: what is felt is the latency.
            cell.bounds = vec![
                Bound::new(Metric::Mean, Way::Shunt, Way::Plain, 1.0),
                Bound::new(Metric::Mean, Way::Shunt, Way::Naive, 1.02).beyond_spread(),
                Bound::new(Metric::Cpu, Way::Shunt, Way::Naive, 1.02),
            ];
        }
    }
    Scene {
        name: "fortio",
        title: "Two Envoys, fortio",
        note: "fortio server in one pod, fortio load -c 64 in the other, 1 KB: with -qps 0, and with 0.7 of \
               what plain TCP reached in that round. The histograms are fortio's own.",
        picture: Picture::Latencies,
        ..scene
    }
}
