//! What a row should reach, and whether it does.

use crate::{metric::Metric, report::Row, way::Way};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A way's metric, compared with another's or with a number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bound {
    pub metric: Metric,
    pub of: Way,
    pub against: Against,
    /// At least, where more is better; else at most.
    pub limit: f64,
    /// It is missed only if no round reaches it.
    pub beyond_spread: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Against {
    Way(Way),
    /// Of these, which has fewer requests.
    Slower(Vec<Way>),
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Reached,
    /// The median is below, some round reaches it.
    Within,
    Missed,
}

impl Bound {
    pub fn new(metric: Metric, of: Way, against: Way, limit: f64) -> Self {
        Self { metric, of, against: Against::Way(against), limit, beyond_spread: false }
    }

    pub fn slower_of(of: Way, ways: &[Way], limit: f64) -> Self {
        let against = Against::Slower(ways.to_vec());
        Self { metric: Metric::Requests, of, against, limit, beyond_spread: true }
    }

    pub fn number(metric: Metric, of: Way, limit: f64) -> Self {
        Self { metric, of, against: Against::Nothing, limit, beyond_spread: false }
    }

    pub fn beyond_spread(mut self) -> Self {
        self.beyond_spread = true;
        self
    }

    /// None: it was not measured.
    pub fn judge(&self, row: &Row) -> Option<Verdict> {
        let of = row.values(self.of, self.metric);
        let (median, [least, greatest]) = match &self.against {
            Against::Nothing => {
                let ends =
                    [of.iter().copied().reduce(f64::min)?, of.iter().copied().reduce(f64::max)?];
                (row.median(self.of, self.metric)?, ends)
            }
            Against::Way(way) => range(row, self, *way)?,
            Against::Slower(ways) => {
                let rate = |way: &&Way| row.median(**way, self.metric);
                let measured = ways.iter().filter(|way| rate(way).is_some());
                let slower = measured.min_by(|one, other| {
                    rate(one).unwrap_or(0.0).total_cmp(&rate(other).unwrap_or(0.0))
                });
                range(row, self, *slower?)?
            }
        };
        let (best, is_reached): (f64, fn(f64, f64) -> bool) = match self.metric.more_is_better() {
            true => (greatest, |value, limit| value >= limit),
            false => (least, |value, limit| value <= limit),
        };
        Some(match (is_reached(median, self.limit), self.beyond_spread) {
            (true, _) => Verdict::Reached,
            (false, true) if is_reached(best, self.limit) => Verdict::Within,
            (false, _) => Verdict::Missed,
        })
    }
}

fn range(row: &Row, bound: &Bound, to: Way) -> Option<(f64, [f64; 2])> {
    let ratio = row.ratio(bound.metric, bound.of, to)?;
    Some((ratio.median, [ratio.least, ratio.greatest]))
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { metric, of, limit, .. } = self;
        let sign = if metric.more_is_better() { '≥' } else { '≤' };
        if *of != Way::Shunt {
            write!(f, "{of} ")?;
        }
        match metric {
            Metric::Requests => {}
            Metric::Cpu => f.write_str("CPU ")?,
            Metric::Mean => f.write_str("mean ")?,
            Metric::Program => f.write_str("time ")?,
            other => write!(f, "{other} ")?,
        }
        match &self.against {
            Against::Nothing => write!(f, "{sign} {}", metric.text(*limit)),
            Against::Way(way) => write!(f, "{sign} {limit:.2} {way}"),
            Against::Slower(ways) => {
                let ways: Vec<_> = ways.iter().map(Way::to_string).collect();
                write!(f, "{sign} {limit:.2} min({})", ways.join(", "))
            }
        }
    }
}
