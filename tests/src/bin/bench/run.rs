//! A scene in all its rounds.

use crate::{
    metric::Metric,
    report::{Row, SceneReport},
    scene::{Bench, Cell, Scene},
};
use anyhow::{Context as _, Result, ensure};
use tests::{cgroup, cpu::Spent, latency, progress::Progress, sandbox};

/// Also what was spent while it was measured.
///
/// # Errors
/// Of a measurement; or a program outlives its round.
pub fn run(
    scene: &Scene,
    bench: &Bench,
    progress: &mut Progress,
) -> Result<(SceneReport, Vec<Spent>)> {
    let row = |cell: &Cell| Row {
        cell: cell.name.clone(),
        bounds: cell.bounds.clone(),
        at: cell.at.clone(),
        bytes: cell.bytes,
        is_headline: cell.is_headline,
        ..Row::default()
    };
    let mut rows: Vec<_> = scene.cells.iter().map(row).collect();
    let mut spent = Vec::new();
    let rounds = scene.rounds(&bench.plan);
    for round in 0..rounds {
        let mut stage = (scene.open)(bench).context(scene.name)?;
        for (number, (cell, row)) in scene.cells.iter().zip(&mut rows).enumerate() {
            for turn in 0..cell.ways.len() {
                // In another order each time, as what ran before may matter.
                let way = cell.ways[(turn + round as usize) % cell.ways.len()];
                let measured = stage.measure(number, way);
                let measured =
                    measured.with_context(|| format!("{}, {}, {way}", scene.name, cell.name))?;
                row.rounds.entry(way).or_default().push(measured.sample);
                spent.extend(measured.spent);
                if !measured.latencies.is_empty() {
                    let all = row.latencies.entry(way).or_default();
                    *all = latency::merge([&*all, &measured.latencies]);
                }
            }
            progress.advance(cell.takes.as_secs_f64() * cell.ways.len() as f64);
        }
        drop(stage);
        let left = cgroup::processes(&sandbox::cgroup()?)?;
        ensure!(left.is_empty(), "{}: processes outlive round {}: {left:?}", scene.name, round + 1);
        progress.advance(scene.setup.as_secs_f64());
        progress.show(&format!("{}, round {}/{rounds}", scene.name, round + 1));
    }
    let report = SceneReport {
        name: scene.name.into(),
        title: scene.title.into(),
        note: scene.note.into(),
        ways: scene.ways.clone(),
        metrics: shown(scene, &rows),
        picture: scene.picture,
        rows,
    };
    Ok((report, spent))
}

/// With the share of the short way, where shunt's pods were asked.
fn shown(scene: &Scene, rows: &[Row]) -> Vec<Metric> {
    let mut metrics = scene.metrics.clone();
    let is_counted = |row: &Row| {
        row.rounds.values().flatten().any(|sample| sample.contains_key(&Metric::ShortWay))
    };
    metrics.extend(rows.iter().any(is_counted).then_some(Metric::ShortWay));
    metrics
}
