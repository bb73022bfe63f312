//! How two things compare that were measured in turn, in several rounds.

use std::fmt;

/// Over the rounds, each of which has a ratio of its own: what the machine does besides changes
/// with time, so neighbours in time are compared.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    pub median: f64,
    pub least: f64,
    pub greatest: f64,
}

impl Ratio {
    pub fn new(of: &[f64], to: &[f64]) -> Ratio {
        let ratios: Vec<_> = of.iter().zip(to).map(|(of, to)| of / to).collect();
        Ratio {
            median: median(&ratios),
            least: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            greatest: ratios.iter().copied().fold(0.0, f64::max),
        }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:.2} ({:.2}–{:.2})", self.median, self.least, self.greatest)
    }
}

pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}
