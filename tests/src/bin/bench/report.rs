//! All that was measured, as it is written and read again.

use crate::{
    bound::{Bound, Verdict},
    metric::{Metric, Sample},
    plan::Plan,
    way::Way,
};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tests::{
    latency::Latencies,
    ratio::{self, Ratio},
};

#[derive(Serialize, Deserialize)]
pub struct Report {
    /// What was called.
    pub command: String,
    pub machine: Machine,
    pub plan: Plan,
    pub seconds: u64,
    pub scenes: Vec<SceneReport>,
    /// What a reader has to know of this run.
    pub notes: Vec<String>,
}

#[derive(Serialize, Deserialize)]
pub struct Machine {
    pub processors: usize,
    pub kernel: String,
    pub memory_mib: u64,
}

#[derive(Serialize, Deserialize)]
pub struct SceneReport {
    pub name: String,
    pub title: String,
    pub note: String,
    pub ways: Vec<Way>,
    pub metrics: Vec<Metric>,
    pub picture: Picture,
    pub rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Picture {
    Nothing,
    /// The first metric over the rows' places, a line for each way.
    Ways,
    /// shunt's to plain's, a line for each of the rows' lines.
    Ratios,
    /// A histogram for each row.
    Latencies,
}

/// A cell in all rounds.
#[derive(Default, Serialize, Deserialize)]
pub struct Row {
    pub cell: String,
    pub rounds: BTreeMap<Way, Vec<Sample>>,
    pub bounds: Vec<Bound>,
    pub at: Option<(String, String)>,
    /// Of a message, where it is judged by bytes.
    pub bytes: Option<f64>,
    pub is_headline: bool,
    /// Of all rounds together: (nanoseconds, how many).
    pub latencies: BTreeMap<Way, Latencies>,
}

impl Row {
    pub fn values(&self, way: Way, metric: Metric) -> Vec<f64> {
        let rounds = self.rounds.get(&way).into_iter().flatten();
        rounds.filter_map(|sample| sample.get(&metric).copied()).collect()
    }

    pub fn median(&self, way: Way, metric: Metric) -> Option<f64> {
        let values = self.values(way, metric);
        (!values.is_empty()).then(|| ratio::median(&values))
    }

    pub fn ratio(&self, metric: Metric, of: Way, to: Way) -> Option<Ratio> {
        let [of, to] = [of, to].map(|way| self.values(way, metric));
        (!of.is_empty() && of.len() == to.len()).then(|| Ratio::new(&of, &to))
    }

    pub fn verdicts(&self) -> impl Iterator<Item = (&Bound, Verdict)> {
        self.bounds.iter().filter_map(|bound| Some((bound, bound.judge(self)?)))
    }

    /// What programs and people want to read besides the rounds.
    fn summary(&self, base: Way) -> Result<Value> {
        let (mut medians, mut ratios) = (Map::new(), Map::new());
        for (way, samples) in &self.rounds {
            let metrics = || samples.first().into_iter().flat_map(|sample| sample.keys());
            let median = |metric: &Metric| (*metric, self.median(*way, *metric));
            let of: BTreeMap<_, _> = metrics().map(median).collect();
            medians.insert(way.to_string(), serde_json::to_value(of)?);
            let others = [base, Way::Naive].into_iter().filter(|other| other != way);
            for to in others {
                let ratio = |metric: &Metric| {
                    let Ratio { median, least, greatest } = self.ratio(*metric, *way, to)?;
                    Some((*metric, json!({"median": median, "least": least, "greatest": greatest})))
                };
                let of: BTreeMap<_, _> = metrics().filter_map(ratio).collect();
                if !of.is_empty() {
                    ratios.insert(format!("{way}/{to}"), serde_json::to_value(of)?);
                }
            }
        }
        let verdict = |(bound, verdict): (&Bound, Verdict)| json!({"bound": bound.to_string(), "verdict": verdict});
        let verdicts: Vec<_> = self.verdicts().map(verdict).collect();
        Ok(json!({"medians": medians, "ratios": ratios, "verdicts": verdicts}))
    }
}

impl Report {
    pub fn to_json(&self) -> Result<String> {
        let mut report = serde_json::to_value(self)?;
        for (number, scene) in self.scenes.iter().enumerate() {
            for (row, of) in scene.rows.iter().enumerate() {
                let base = scene.ways.first().copied().unwrap_or(Way::Plain);
                report["scenes"][number]["rows"][row]["summary"] = of.summary(base)?;
            }
        }
        Ok(serde_json::to_string(&report)? + "\n")
    }

    pub fn from_json(text: &str) -> Result<Self> {
        Ok(serde_json::from_str(text)?)
    }

    /// How many bounds there are, and how many are missed.
    pub fn score(&self) -> (usize, usize) {
        let rows = self.scenes.iter().flat_map(|scene| &scene.rows);
        let verdicts = rows.flat_map(Row::verdicts).map(|(_, verdict)| verdict);
        verdicts.fold((0, 0), |(all, missed), verdict| {
            (all + 1, missed + usize::from(verdict == Verdict::Missed))
        })
    }
}

impl SceneReport {
    /// Where nearly all of shunt's bytes were to take the short way, and did not.
    pub fn detours(&self) -> Vec<String> {
        let detour = |row: &Row| {
            let share = row.median(Way::Shunt, Metric::ShortWay)?;
            (share < 0.95).then(|| {
                let share = Metric::ShortWay.text(share);
                format!(
                    "{}, {}: only {share} of shunt's bytes took the short way.",
                    self.title, row.cell
                )
            })
        };
        self.rows.iter().filter_map(detour).collect()
    }
}
