//! How far it is, and how long it will still take.

use std::time::Instant;

pub struct Progress {
    since: Instant,
    steps: usize,
    done: usize,
}

impl Progress {
    pub fn new(steps: usize) -> Self {
        Self { since: Instant::now(), steps, done: 0 }
    }

    /// One step of them is done: that one.
    pub fn step(&mut self, name: &str) {
        self.done += 1;
        let left = self.since.elapsed() / self.done as u32 * (self.steps - self.done) as u32;
        let (share, seconds) = (100 * self.done / self.steps, left.as_secs());
        eprintln!("{share:3} %, {}:{:02} min left: {name}", seconds / 60, seconds % 60);
    }
}
