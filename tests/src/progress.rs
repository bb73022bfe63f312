//! How far it is, and how long it will still take.

use std::time::Instant;

pub struct Progress {
    since: Instant,
    /// In steps, or in what else they are counted by.
    total: f64,
    done: f64,
}

impl Progress {
    pub fn new(steps: usize) -> Self {
        Self::of(steps as f64)
    }

    /// Of steps that are not alike: seconds as they were planned, for one.
    pub fn of(total: f64) -> Self {
        Self { since: Instant::now(), total, done: 0.0 }
    }

    /// One step of them is done: that one.
    pub fn step(&mut self, name: &str) {
        self.advance(1.0);
        self.show(name);
    }

    /// That much is done.
    pub fn advance(&mut self, part: f64) {
        self.done += part;
    }

    /// What was done last.
    pub fn show(&self, name: &str) {
        let left = self.since.elapsed().as_secs_f64() / self.done * (self.total - self.done);
        let (share, seconds) = ((100.0 * self.done / self.total) as u64, left.max(0.0) as u64);
        eprintln!("{share:3} %, {}:{:02} min left: {name}", seconds / 60, seconds % 60);
    }
}
