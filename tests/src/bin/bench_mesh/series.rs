//! What was measured of two applications with one thing between them, in all rounds.

use crate::{load::Measured, mesh::Kind};
use std::fmt;
use tests::ratio::{self, Ratio};

/// What the client does.
#[derive(Clone, Copy)]
pub enum Load {
    /// Each answer is followed by a request at once.
    Most,
    /// So many requests a second, whether answers have come or not.
    Fixed,
}

/// Without a mesh, or by plain TCP or with shunt in one.
pub struct Series {
    pub kind: Option<Kind>,
    pub shunt: bool,
    /// By number of connections, by [`Load`], by round.
    pub measured: Vec<[Vec<Measured>; 2]>,
}

/// A value of a measurement.
pub type Of<'a> = &'a dyn Fn(&Measured) -> f64;

impl Series {
    /// All that are to be measured in turn.
    pub fn all(kinds: &[Kind], numbers: usize) -> Vec<Self> {
        let new = |kind, shunt| Self { kind, shunt, measured: vec![Default::default(); numbers] };
        let mut all = vec![new(None, false)];
        all.extend(kinds.iter().flat_map(|kind| [new(Some(*kind), false), new(Some(*kind), true)]));
        all
    }

    /// In all rounds.
    pub fn values(&self, place: usize, load: Load, of: Of) -> Vec<f64> {
        self.measured[place][load as usize].iter().map(of).collect()
    }

    pub fn median(&self, place: usize, load: Load, of: Of) -> f64 {
        ratio::median(&self.values(place, load, of))
    }

    pub fn ratio(&self, to: &Series, place: usize, load: Load, of: Of) -> Ratio {
        Ratio::new(&self.values(place, load, of), &to.values(place, load, of))
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match (self.kind, self.shunt) {
            (None, _) => write!(f, "no mesh"),
            (Some(kind), false) => write!(f, "{kind}, plain"),
            (Some(kind), true) => write!(f, "{kind}, shunt"),
        }
    }
}
