//! A connection for each request, or for a few.

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
    scene::{Measured, Scene, Stage},
    scenes::hop::cells::{cells, of_scene, scene as hop},
    way::Way,
};
use anyhow::Result;
use tests::node::Node;

const DISTANCES: [(Distance, &str, &[Way]); 2] = [
    (Distance::Loopback, "loopback", &[Way::Plain, Way::Unix, Way::Shunt, Way::Naive]),
    (Distance::Veth, "two pods", &[Way::Plain, Way::Shunt, Way::Naive]),
];

/// A stage for each distance.
struct Both(Vec<HopStage>, usize);

pub fn scene(plan: &Plan) -> Scene {
    let loads = [Load::Connect, Load::Reconnect];
    let requests = loads.map(|load| cells(load, &[1024], &[1, 16])).concat();
    let of = DISTANCES.iter().flat_map(|(_, name, ways)| {
        requests.iter().map(move |&cell| {
            let bound = Bound::new(Metric::Requests, Way::Shunt, Way::Plain, 0.98);
            crate::scene::Cell {
                name: format!("{name}, {} each, x{}", cell.load.messages(), cell.connections),
                is_headline: cell.connections == 16,
                ..of_scene(cell, ways, vec![bound], plan)
            }
        })
    });
    let of = of.collect();
    let window = plan.hop_window;
    let requests_of = requests.clone();
    let ways = DISTANCES[0].2.to_vec();
    Scene {
        name: "connect",
        title: "Connect, request, close",
        note: "A connection for each request and answer of 1 KB, or for 16; one or 16 at once.",
        picture: Picture::Nothing,
        open: Box::new(move |_| open(&requests_of, window)),
        ..hop(plan, ways, Distance::Loopback, (requests, of))
    }
}

fn open(requests: &[Cell], window: std::time::Duration) -> Result<Box<dyn Stage>> {
    let stage = |(distance, name, ways): &(Distance, &str, &[Way])| {
        let node = Node::new(&format!("bench-{}", name.replace(' ', "-")))?;
        let place = |way: &Way| Place::new(&node, *way, *distance);
        let places = ways.iter().map(place).collect::<Result<_>>()?;
        Ok(HopStage { places, cells: requests.to_vec(), window, is_short: true, node })
    };
    let stages = DISTANCES.iter().map(stage).collect::<Result<_>>()?;
    Ok(Box::new(Both(stages, requests.len())))
}

impl Stage for Both {
    fn measure(&mut self, cell: usize, way: Way) -> Result<Measured> {
        self.0[cell / self.1].measure(cell % self.1, way)
    }
}
