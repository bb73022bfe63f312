//! How much is measured, and how long that will take.

use crate::scene::Scene;
use serde::{Deserialize, Serialize};
use std::{fmt::Write as _, time::Duration};

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Plan {
    pub rounds: u32,
    /// Of a measurement through proxies.
    #[serde(with = "millis")]
    pub window: Duration,
    /// Of one without.
    #[serde(with = "millis")]
    pub hop_window: Duration,
    /// Fewer cells, and smaller ones.
    pub quick: bool,
}

impl Plan {
    pub fn new(quick: bool) -> Self {
        let millis = Duration::from_millis;
        match quick {
            false => Self { rounds: 5, window: millis(400), hop_window: millis(130), quick },
            true => Self { rounds: 2, window: millis(250), hop_window: millis(100), quick },
        }
    }

    /// The one where it is quick, else the other.
    pub fn pick<T: Clone>(&self, quick: &[T], whole: &[T]) -> Vec<T> {
        if self.quick { quick.to_vec() } else { whole.to_vec() }
    }

    /// What the scenes take, with all rounds.
    pub fn takes(&self, scenes: &[Scene]) -> Duration {
        scenes.iter().map(|scene| scene.takes() * scene.rounds(self)).sum()
    }

    pub fn text(&self, scenes: &[Scene]) -> String {
        let mut text = String::new();
        for scene in scenes {
            let rounds = scene.rounds(self);
            let _ = writeln!(
                text,
                "  {:<16} {:>5}  {rounds} x {} cells: {}",
                scene.name,
                time(scene.takes() * rounds),
                scene.cells.len(),
                scene.title,
            );
        }
        text + &format!("  {:<16} {:>5}", "", time(self.takes(scenes)))
    }
}

pub fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// In a report.
mod millis {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use std::time::Duration;

    pub fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        (time.as_millis() as u64).serialize(to)
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}
