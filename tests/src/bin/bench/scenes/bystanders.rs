//! What it costs those who gain nothing.

use crate::{
    bound::Bound,
    hop::{
        cell::{Cell, Load},
        place::{Distance, Place},
        stage::HopStage,
    },
    metric::{Metric, Sample},
    plan::Plan,
    report::Picture,
    scene::{Measured, Scene, Stage},
    scenes::hop::cells::{of_scene, scene as hop},
    way::Way,
};
use anyhow::Result;
use serde_json::json;
use std::time::Duration;
use tests::node::Node;

/// All but the last share a node.
const WAYS: [Way; 6] =
    [Way::Plain, Way::Excluded, Way::Untrusted, Way::Observed, Way::Trial, Way::Watched];

struct Bystanders(HopStage);

pub fn scene(plan: &Plan) -> Scene {
    let cell = |load, connections| Cell { load, size: 1024, connections };
    let cells = vec![cell(Load::Echo, 1), cell(Load::Echo, 64), cell(Load::Connect, 16)];
    let bounds: Vec<_> = [Way::Excluded, Way::Untrusted, Way::Observed]
        .map(|way| Bound::new(Metric::Requests, way, Way::Plain, 0.99))
        .into();
    let of = cells.iter().map(|&cell| of_scene(cell, &WAYS, bounds.clone(), plan)).collect();
    let window = plan.hop_window;
    let used = cells.clone();
    Scene {
        name: "bystanders",
        title: "Those who gain nothing",
        note: "Between two pods. excluded: the port is in excludedPorts. untrusted: the program is not known and \
               cannot be watched. observed: shunt only looks on. trial: the connection enters the sockhash, as one \
               to a Service's address may (serviceCIDRs), and leaves it as its peer is no pod. watched: the \
               program is not known, and watched by system calls (watch: syscalls), which costs each call of the \
               node.",
        picture: Picture::Nothing,
        // Another node for each that is watched.
        setup: Duration::from_millis(5000),
        open: Box::new(move |_| open(used.clone(), window)),
        ..hop(plan, WAYS.into(), Distance::Veth, (cells, of))
    }
}

fn open(cells: Vec<Cell>, window: Duration) -> Result<Box<dyn Stage>> {
    let mut node = Node::new("bench")?;
    // Nobody gets to be known, on any kernel.
    node.conf.insert("watch".into(), json!("names"));
    let place = |way: &Way| {
        let distance = if *way == Way::Trial { Distance::Away } else { Distance::Veth };
        Place::new(&node, *way, distance)
    };
    let places = WAYS[..5].iter().map(place).collect::<Result<_>>()?;
    Ok(Box::new(Bystanders(HopStage { places, cells, window, is_short: false, node })))
}

impl Stage for Bystanders {
    fn measure(&mut self, cell: usize, way: Way) -> Result<Measured> {
        if way != Way::Watched {
            return self.0.measure(cell, way);
        }
        // For this long only, as it watches all of the machine.
        let mut node = Node::new("bench-watching")?;
        node.conf.insert("watch".into(), json!("syscalls"));
        let place = Place::new(&node, way, Distance::Veth)?;
        let (measured, _) = place.measure(&node, self.0.cells[cell], self.0.window)?;
        let sample =
            Sample::from([(Metric::Requests, measured.rate), (Metric::Cpu, measured.each)]);
        Ok(Measured { sample, spent: Some(measured.spent), latencies: Vec::new() })
    }
}
