//! `make bench-cni`: what ADD, CHECK and DEL take on nodes with few and with many pods, called by one or by
//! several at once, beside the reference plugin `tuning`; the memory of what is there always; and what who gains nothing
//! pays where programs run for all sockets.

mod calls;
mod memory;
mod others;

use anyhow::{Context as _, Result};
use calls::{Times, VERBS};
use clap::Parser;
use memory::Watch;
use others::Others;
use std::fmt::Display;
use tests::{
    maps,
    populated::Populated,
    progress::Progress,
    ratio::{Ratio, median},
    sandbox::{self, Pins},
    table,
};

/// Measures the plugin's verbs by the number of pods and of callers, and shunt's memory.
#[derive(Parser)]
struct Args {
    /// In each, everything is measured once, in turn
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many pods nodes have
    #[arg(long, value_delimiter = ',', default_value = "1,100,1000")]
    pods: Vec<u32>,
    /// How many call at once
    #[arg(long, value_delimiter = ',', default_value = "1,8")]
    callers: Vec<usize>,
    /// Pods that each caller adds and deletes in a round
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    calls: u32,
}

/// What ADD on the node with the most pods may take of what it takes on the one with the fewest.
const GROWTH: f64 = 1.3;
/// Bytes.
const IDLE_MAPS: u64 = 5_000_000;
const WATCH: u64 = 10 << 20;

/// Callers on a node, in all rounds.
struct Row {
    pods: u32,
    watched: bool,
    callers: usize,
    shunt: Vec<Times>,
    tuning: Vec<Times>,
}

impl Row {
    fn text(&self) -> Vec<String> {
        let watched = if self.watched { ", watch" } else { "" };
        let mut text = vec![format!("{} pods{watched}, {} at once", self.pods, self.callers)];
        for verb in 0..VERBS.len() {
            let [shunt, tuning] = [&self.shunt, &self.tuning].map(|times| of(times, verb));
            text.push(format!("{:.1} ms", median(&shunt)));
            text.push(Ratio::new(&shunt, &tuning).to_string());
        }
        text
    }
}

/// Milliseconds, by round.
fn of(times: &[Times], verb: usize) -> Vec<f64> {
    times.iter().map(|times| times[verb]).collect()
}

fn main() -> Result<()> {
    let args = Args::parse();
    sandbox::enter(Pins::Private)?;
    let nodes = args.pods.iter().map(|pods| Populated::new(*pods)).collect::<Result<Vec<_>>>()?;
    let idle = maps::memory(&nodes.first().context("no --pods")?.node)?;
    let most = maps::memory(&nodes.last().context("no --pods")?.node)?;

    let others = [Others::new(true)?, Others::new(false)?];
    let mut connections = [Vec::new(), Vec::new()];
    let mut rows = Vec::new();
    for watched in [false, true] {
        for callers in &args.callers {
            // Beside each other, as they are compared.
            rows.extend(args.pods.iter().map(|pods| Row {
                pods: *pods,
                watched,
                callers: *callers,
                shunt: Vec::new(),
                tuning: Vec::new(),
            }));
        }
    }
    let mut progress = Progress::new(args.rounds as usize * rows.len());
    let mut resident = 0;
    for round in 0..args.rounds {
        for row in &mut rows {
            let populated = nodes.iter().find(|node| node.pods == row.pods);
            let node = &populated.context("no such node")?.node;
            let watch = if row.watched { Some(Watch::start(node)?) } else { None };
            let callers = calls::Caller::some(node, row.callers)?;
            // In another order each time.
            for turn in 0..2 {
                if (turn + round) % 2 == 0 {
                    row.shunt.push(calls::measure(&callers, args.calls, calls::shunt)?);
                } else {
                    row.tuning.push(calls::measure(&callers, args.calls, calls::tuning)?);
                }
            }
            if let Some(watch) = watch {
                resident = resident.max(watch.memory()?);
            }
            for (others, rates) in others.iter().zip(&mut connections) {
                rates.push(others.connections()?);
            }
            progress.step(&format!("round {}, {}", round + 1, row.text()[0]));
        }
    }

    let head = ["", "ADD", "/tuning", "CHECK", "/tuning", "DEL", "/tuning"];
    println!();
    table::print(&head, &rows.iter().map(Row::text).collect::<Vec<_>>());
    println!();
    for row in rows.iter().filter(|row| Some(&row.pods) == args.pods.last()) {
        let alike = |other: &&Row| (other.watched, other.callers) == (row.watched, row.callers);
        let Some(fewest) = rows.iter().find(alike) else { continue };
        let growth = Ratio::new(&of(&row.shunt, 0), &of(&fewest.shunt, 0));
        let what = format!("ADD: {} to {} pod", row.text()[0], fewest.pods);
        judge(&what, growth, growth.median, GROWTH);
    }
    let kib = |bytes: u64| format!("{} KiB", bytes >> 10);
    judge("maps of an idle node", kib(idle), idle as f64, IDLE_MAPS as f64);
    println!("  maps of the node with the most pods: {}", kib(most));
    let [beside, alone] = &connections;
    println!(
        "  what is no pod, where programs run for all: {} of the connections",
        Ratio::new(beside, alone)
    );
    judge("watch, resident at most", kib(resident), resident as f64, WATCH as f64);
    Ok(())
}

/// What is not to be more than that.
fn judge(what: &str, text: impl Display, value: f64, most: f64) {
    println!("{} {what}: {text}", if value <= most { " " } else { "!" });
}
