//! What is measured together: some cells, each by several ways in turn.

use crate::{
    bound::Bound,
    metric::{Metric, Sample},
    plan::Plan,
    report::Picture,
    way::Way,
};
use anyhow::Result;
use std::{path::PathBuf, time::Duration};
use tests::{cpu::Spent, latency::Latencies};

pub struct Scene {
    pub name: &'static str,
    pub title: &'static str,
    /// What a reader has to know.
    pub note: &'static str,
    /// The others are compared with the first.
    pub ways: Vec<Way>,
    /// What is shown, the first with its range.
    pub metrics: Vec<Metric>,
    pub cells: Vec<Cell>,
    /// Nearly all of shunt's bytes are to take the short way.
    pub is_short: bool,
    pub picture: Picture,
    /// None: as many as the others have.
    pub rounds: Option<u32>,
    /// What a round takes besides measuring.
    pub setup: Duration,
    pub open: Open,
}

/// Fresh pods and programs for a round.
pub type Open = Box<dyn Fn(&Bench) -> Result<Box<dyn Stage>>>;

pub struct Cell {
    pub name: String,
    /// Those of the scene's that bear it.
    pub ways: Vec<Way>,
    pub bounds: Vec<Bound>,
    /// What a measurement takes.
    pub takes: Duration,
    /// Line and place in the scene's picture.
    pub at: Option<(String, String)>,
    /// Bytes of a message, where it is judged by bytes.
    pub bytes: Option<f64>,
    /// It is in the page's first table.
    pub is_headline: bool,
}

/// What is there in one round. What it made goes when it is dropped.
pub trait Stage {
    /// One of the scene's cells, by its number.
    fn measure(&mut self, cell: usize, way: Way) -> Result<Measured>;
}

pub struct Measured {
    pub sample: Sample,
    pub spent: Option<Spent>,
    pub latencies: Latencies,
}

/// What all scenes have.
pub struct Bench {
    pub plan: Plan,
    pub envoy: PathBuf,
    pub fortio: PathBuf,
}

impl Scene {
    pub fn rounds(&self, plan: &Plan) -> u32 {
        self.rounds.map_or(plan.rounds, |rounds| rounds.min(plan.rounds))
    }

    /// One round.
    pub fn takes(&self) -> Duration {
        self.setup
            + self.cells.iter().map(|cell| cell.takes * cell.ways.len() as u32).sum::<Duration>()
    }
}
