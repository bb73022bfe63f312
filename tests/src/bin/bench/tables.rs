//! Numbers as rows of text, for the terminal, the page and documents.

use crate::{
    bound::Verdict,
    metric::Metric,
    report::{Report, Row, SceneReport},
    way::Way,
};
use tests::ratio::Ratio;

pub struct Table {
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// What one column tells of a row.
enum Column {
    Value(Metric, Way),
    /// With its range, or without.
    Ratio(Metric, Way, Way, bool),
}

impl Table {
    pub fn of(scene: &SceneReport) -> Self {
        let columns = columns(scene);
        let mut head = vec![String::new()];
        head.extend(columns.iter().map(Column::head));
        head.push("should be".into());
        let text = |row: &Row| {
            let mut text = vec![row.cell.clone()];
            text.extend(columns.iter().map(|column| column.text(row)));
            text.push(judged(row));
            text
        };
        Self { head, rows: scene.rows.iter().map(text).collect() }
    }

    /// What a reader wants first.
    pub fn of_headlines(report: &Report) -> Self {
        let head =
            ["", "plain", "shunt/plain", "naive/plain", "shunt/naive", "CPU shunt/plain", ""];
        let mut rows = Vec::new();
        for scene in &report.scenes {
            for row in scene.rows.iter().filter(|row| row.is_headline) {
                let metric = scene.metrics.first().copied().unwrap_or(Metric::Requests);
                let ratio = |metric, of, to| {
                    let ratio = row.ratio(metric, of, to);
                    ratio.map_or_else(String::new, |ratio| format!("{:.2}", ratio.median))
                };
                let is_missed = row.verdicts().any(|(_, verdict)| verdict == Verdict::Missed);
                rows.push(vec![
                    format!("{}: {}", scene.title, row.cell),
                    Column::Value(metric, Way::Plain).text(row),
                    Column::Ratio(metric, Way::Shunt, Way::Plain, true).text(row),
                    ratio(metric, Way::Naive, Way::Plain),
                    ratio(metric, Way::Shunt, Way::Naive),
                    ratio(Metric::Cpu, Way::Shunt, Way::Plain),
                    if is_missed { "(!)".into() } else { String::new() },
                ]);
            }
        }
        Self { head: head.map(str::to_owned).into(), rows }
    }

    pub fn to_markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule: Vec<_> = self.head.iter().map(|_| "---".to_owned()).collect();
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        line(&self.head) + &line(&rule).replace(' ', "") + &rows
    }
}

fn columns(scene: &SceneReport) -> Vec<Column> {
    let Some((&base, others)) = scene.ways.split_first() else { return Vec::new() };
    let has =
        |way: Way, metric: Metric| scene.rows.iter().any(|row| row.median(way, metric).is_some());
    let mut columns = Vec::new();
    for (number, &metric) in scene.metrics.iter().enumerate() {
        if !has(base, metric) {
            let ways = others.iter().filter(|way| has(**way, metric));
            columns.extend(ways.map(|way| Column::Value(metric, *way)));
            continue;
        }
        let with_range = number == 0;
        columns.push(Column::Value(metric, base));
        // Of what comes second, what shunt does.
        let ways = others.iter().filter(|way| with_range || **way != Way::Naive);
        columns.extend(ways.map(|way| Column::Ratio(metric, *way, base, with_range)));
        if others.contains(&Way::Naive) && others.contains(&Way::Shunt) {
            columns.push(Column::Ratio(metric, Way::Shunt, Way::Naive, with_range));
        }
    }
    columns
}

impl Column {
    fn head(&self) -> String {
        match self {
            Column::Value(Metric::ShortWay, _) => Metric::ShortWay.to_string(),
            Column::Value(metric, way) => format!("{way}, {metric}"),
            Column::Ratio(_, of, to, true) => format!("{of}/{to}"),
            Column::Ratio(metric, of, to, false) => {
                let metric = metric.to_string();
                let name = metric.strip_suffix(" µs").unwrap_or(&metric);
                format!("{name} {of}/{to}")
            }
        }
    }

    fn text(&self, row: &Row) -> String {
        let text = match self {
            Column::Value(metric, way) => {
                row.median(*way, *metric).map(|value| match (metric, row.bytes) {
                    (Metric::Requests, Some(bytes)) => format!("{:.0} MB", value * bytes / 1e6),
                    _ => metric.text(value),
                })
            }
            Column::Ratio(metric, of, to, with_range) => {
                let text = |ratio: Ratio| match with_range {
                    true => ratio.to_string(),
                    false => format!("{:.2}", ratio.median),
                };
                row.ratio(*metric, *of, *to).map(text)
            }
        };
        text.unwrap_or_default()
    }
}

/// (!): missed. (~): missed by the median, reached in some round.
fn judged(row: &Row) -> String {
    let text = |(bound, verdict): (&crate::bound::Bound, Verdict)| match verdict {
        Verdict::Reached => bound.to_string(),
        Verdict::Within => format!("{bound} (~)"),
        Verdict::Missed => format!("{bound} (!)"),
    };
    row.verdicts().map(text).collect::<Vec<_>>().join("; ")
}
