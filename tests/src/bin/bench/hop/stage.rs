//! All ways of one hop beside each other, for a round.

use super::{cell::Cell, client, place::Place};
use crate::{
    metric::{Metric, Sample},
    scene::{self, Stage},
    way::Way,
};
use anyhow::{Context as _, Result, ensure};
use std::time::Duration;
use tests::node::Node;

/// What starting the two programs and connecting them takes.
const OVERHEAD: Duration = Duration::from_millis(25);
/// No sender of such messages leaves the short way: bytes.
const SMALL: usize = 16 << 10;

/// Places go before their node.
pub struct HopStage {
    pub places: Vec<Place>,
    pub cells: Vec<Cell>,
    pub window: Duration,
    /// Bytes must take the short way where they are shunt's.
    pub is_short: bool,
    pub node: Node,
}

impl Stage for HopStage {
    fn measure(&mut self, cell: usize, way: Way) -> Result<scene::Measured> {
        let place = self.places.iter().find(|place| place.way == way).context("no such way")?;
        let (measured, short) = place.measure(&self.node, self.cells[cell], self.window)?;
        // Who sends much without an answer leaves, so that nothing may be left to be counted.
        let Cell { load, size, .. } = self.cells[cell];
        if self.is_short && way == Way::Shunt && load.is_answered() && size <= SMALL {
            ensure!(short.is_some_and(|share| share > 0.0), "nothing took the short way");
        }
        let mut sample =
            Sample::from([(Metric::Requests, measured.rate), (Metric::Cpu, measured.each)]);
        sample.extend(short.map(|share| (Metric::ShortWay, share)));
        Ok(scene::Measured { sample, spent: Some(measured.spent), latencies: Vec::new() })
    }
}

/// What one measurement takes.
pub fn takes(cell: Cell, window: Duration) -> Duration {
    window + client::warm_up(cell) + OVERHEAD
}
