//! What the program that runs for each message takes, beside the textbook's.

use super::{
    cell::{self, Cell, Load},
    stage::MeshStage,
};
use crate::{
    bound::Bound,
    metric::Metric,
    plan::Plan,
    report::Picture,
    scene::{Measured, Scene, Stage},
    way::Way,
};
use anyhow::{Context as _, Result};
use shim::layout::name;
use tests::program_time::{Runs, Stopwatch};

const WAYS: [Way; 2] = [Way::Naive, Way::Shunt];

struct Timed {
    mesh: MeshStage,
    /// Only in this scene, as it costs each run.
    _stopwatch: Stopwatch,
}

pub fn scene(plan: &Plan) -> Scene {
    let cells = vec![Cell { load: Load::Tcp, connections: 64, size: 1024 }];
    let mut scene = cell::scene(plan, cells.clone());
    for cell in &mut scene.cells {
        cell.ways = WAYS.into();
        cell.bounds = vec![Bound::new(Metric::Program, Way::Shunt, Way::Naive, 1.15)];
    }
    Scene {
        name: "program",
        title: "Time of the sk_msg program",
        note: "shunt_message beside the textbook's program, through two Envoys, by the kernel's own count \
               (bpf_stats_enabled), which costs each run some 100 ns that are in both.",
        ways: WAYS.into(),
        metrics: vec![Metric::Program, Metric::Requests],
        picture: Picture::Nothing,
        open: Box::new(move |bench| {
            let mesh = MeshStage::new(bench, cells.clone())?;
            Ok(Box::new(Timed { mesh, _stopwatch: Stopwatch::start()? }))
        }),
        ..scene
    }
}

impl Timed {
    fn runs(&self, way: Way) -> Result<Runs> {
        let textbook = self.mesh.mesh(way)?.textbook.as_ref();
        match way {
            Way::Shunt => Runs::of_pin(&self.mesh.node.pin(name::MESSAGE)),
            _ => Runs::of_id(textbook.context("no textbook")?.message_program()?),
        }
    }
}

impl Stage for Timed {
    fn measure(&mut self, cell: usize, way: Way) -> Result<Measured> {
        let before = self.runs(way)?;
        let mut measured = self.mesh.measure(cell, way)?;
        let each = self.runs(way)?.each_since(before);
        measured.sample.insert(Metric::Program, each);
        Ok(measured)
    }
}
