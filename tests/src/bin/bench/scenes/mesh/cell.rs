//! What is sent through the two Envoys, and what it should reach.

use crate::{
    bound::Bound,
    fortio::Protocol,
    hop::cell::size,
    metric::Metric,
    plan::Plan,
    scene::{self, Scene},
    way::Way,
};
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// The tests' own, which compares every byte.
    Tcp,
    /// As that, in blocking mode.
    Blocking,
    Wrk,
    /// fortio, as fast as it can.
    Fortio(Protocol),
    /// fortio, at [`SHARE`] of what plain TCP reached with that protocol in the round.
    FortioAt(Protocol),
}

#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub load: Load,
    pub connections: usize,
    /// Bytes.
    pub size: usize,
}

pub const WAYS: [Way; 3] = [Way::Plain, Way::Shunt, Way::Naive];
pub const SHARE: f64 = 0.7;
/// Of the tests' own load.
pub const WARM_UP: Duration = Duration::from_millis(250);
/// wrk knows no less.
pub const SECOND: Duration = Duration::from_secs(1);
/// Starting programs, and connecting.
const OVERHEAD: Duration = Duration::from_millis(120);

/// Two pods and two Envoys for each way, and their end.
pub const SETUP: Duration = Duration::from_millis(4000);

/// 1 KB on ever more connections, and 64 connections with other sizes.
pub fn shapes(plan: &Plan, load: Load) -> Vec<Cell> {
    let few: &[usize] = if matches!(load, Load::Tcp) { &[1, 64] } else { &[64] };
    let connections = plan.pick(few, &[1, 4, 16, 64, 256]);
    let sizes = plan.pick(&[64 << 10], &[128, 16 << 10, 64 << 10]);
    let by_connections = connections.into_iter().map(|connections| (connections, 1024));
    let all = by_connections.chain(sizes.into_iter().map(|size| (64, size)));
    all.map(|(connections, size)| Cell { load, connections, size }).collect()
}

impl Cell {
    /// The load's window.
    pub fn window(self, plan: &Plan) -> Duration {
        match self.load {
            Load::Wrk => SECOND,
            Load::FortioAt(_) => plan.window * 3,
            _ => plan.window,
        }
    }

    pub fn of_scene(self, plan: &Plan) -> scene::Cell {
        let warm_up = match self.load {
            Load::Tcp | Load::Blocking => WARM_UP,
            _ => Duration::ZERO,
        };
        scene::Cell {
            name: format!("{} x{}", size(self.size), self.connections),
            ways: WAYS.into(),
            bounds: bounds(),
            takes: self.window(plan) + warm_up + OVERHEAD,
            at: (self.size == 1024).then(|| (String::new(), self.connections.to_string())),
            bytes: None,
            is_headline: (self.connections, self.size) == (64, 1024),
        }
    }
}

/// More than plain, and as good as what knows no bounds.
pub fn bounds() -> Vec<Bound> {
    vec![
        Bound::new(Metric::Requests, Way::Shunt, Way::Plain, 1.0),
        Bound::new(Metric::Requests, Way::Shunt, Way::Naive, 0.98),
        Bound::new(Metric::Cpu, Way::Shunt, Way::Naive, 1.02),
    ]
}

/// Of all scenes through Envoys.
pub fn scene(plan: &Plan, cells: Vec<Cell>) -> Scene {
    Scene {
        name: "",
        title: "",
        note: "",
        ways: WAYS.into(),
        metrics: vec![Metric::Requests, Metric::Mean, Metric::P99, Metric::Cpu],
        cells: cells.iter().map(|cell| cell.of_scene(plan)).collect(),
        is_short: true,
        picture: crate::report::Picture::Ways,
        rounds: None,
        setup: SETUP,
        open: Box::new(move |bench| super::stage::open(bench, cells.clone())),
    }
}
