//! `make bench`: what shunt gives on this machine, beside plain TCP, a textbook's sockmap and AF_UNIX.

mod bound;
mod fortio;
mod hop;
mod html;
mod metric;
mod pictures;
mod plan;
mod report;
mod run;
mod scene;
mod scenes;
mod short_way;
mod tables;
mod way;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use nix::sys::{sysinfo::sysinfo, utsname::uname};
use plan::Plan;
use report::{Machine, Report};
use scene::{Bench, Scene};
use std::{
    env, fs,
    path::PathBuf,
    thread::available_parallelism,
    time::{Duration, Instant},
};
use tables::Table;
use tests::{
    cpu, envoy,
    progress::Progress,
    sandbox::{self, Pins},
    save::save,
    table,
};

/// Measures what shunt gives on this machine, and writes one report.
#[derive(Parser)]
struct Args {
    /// Fewer rounds and cells, in a few minutes
    #[arg(long)]
    quick: bool,
    /// In each, all ways of a cell are measured once, in turn
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Length of a measurement through proxies, in milliseconds; others take less
    #[arg(long, value_parser = clap::value_parser!(u64).range(50..))]
    window: Option<u64>,
    /// Only the scenes whose names contain one of these
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only say what would be measured, and how long it takes
    #[arg(long)]
    list: bool,
    /// Only print the tables of that report.json, for documents
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Envoy's binary
    #[arg(long, env, default_value = "target/python/envoy/_bin/envoy")]
    envoy: PathBuf,
    /// fortio's
    #[arg(long, env, default_value = "target/fortio/fortio")]
    fortio: PathBuf,
    /// Where report.html and report.json go
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(path) = &args.markdown {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        print_markdown(&Report::from_json(&text)?);
        return Ok(());
    }
    let mut plan = Plan::new(args.quick);
    plan.rounds = args.rounds.unwrap_or(plan.rounds);
    if let Some(window) = args.window.map(Duration::from_millis) {
        (plan.window, plan.hop_window) = (window, window * 3 / 8);
    }
    let mut scenes = scenes::all(&plan);
    let is_asked = |scene: &Scene| args.only.iter().any(|name| scene.name.contains(name.as_str()));
    scenes.retain(|scene| args.only.is_empty() || is_asked(scene));
    ensure!(!scenes.is_empty(), "no scene has such a name: see --list");
    if args.list {
        println!("{}", plan.text(&scenes));
        return Ok(());
    }
    sandbox::enter(Pins::Private)?;
    println!("{}\n", plan.text(&scenes));
    let bench =
        Bench { plan, envoy: envoy::mount(&args.envoy)?, fortio: envoy::mount(&args.fortio)? };
    let (report, failed) = measure(&scenes, &bench)?;
    print(&report);
    save(&args.out, "report.json", &report.to_json()?)?;
    save(&args.out, "report.html", &html::page(&report))?;
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// Also which scenes have failed, and why. The others are measured all the same.
fn measure(scenes: &[Scene], bench: &Bench) -> Result<(Report, Vec<String>)> {
    let since = Instant::now();
    let mut progress = Progress::of(bench.plan.takes(scenes).as_secs_f64());
    let (mut reports, mut notes, mut spent, mut failed) = (vec![], vec![], vec![], vec![]);
    for scene in scenes {
        let (report, meanwhile) = match run::run(scene, bench, &mut progress) {
            Ok(measured) => measured,
            Err(error) => {
                failed.push(format!("{error:#}"));
                continue;
            }
        };
        println!("\n{}\n", report.title);
        let table = Table::of(&report);
        table::print(&table.head, &table.rows);
        println!();
        if scene.is_short {
            notes.extend(report.detours());
        }
        spent.extend(meanwhile);
        reports.push(report);
    }
    notes.extend(cpu::note_of_others(spent.into_iter()));
    notes.extend(failed.clone());
    let report = Report {
        command: format!(
            "make bench ARGS=\"{}\"",
            env::args().skip(1).collect::<Vec<_>>().join(" ")
        ),
        machine: Machine {
            processors: available_parallelism()?.get(),
            kernel: uname()?.release().display().to_string(),
            memory_mib: sysinfo()?.ram_total() >> 20,
        },
        plan: bench.plan,
        seconds: since.elapsed().as_secs(),
        scenes: reports,
        notes,
    };
    Ok((report, failed))
}

fn print(report: &Report) {
    let table = Table::of_headlines(report);
    if !table.rows.is_empty() {
        println!("In short\n");
        table::print(&table.head, &table.rows);
    }
    let (bounds, missed) = report.score();
    println!("\n{missed} of {bounds} bounds are missed (!)");
    for note in &report.notes {
        println!("{note}");
    }
    println!("measured in {}", plan::time(Duration::from_secs(report.seconds)));
}

fn print_markdown(report: &Report) {
    println!("{}", Table::of_headlines(report).to_markdown());
    for scene in &report.scenes {
        println!("### {}\n\n{}\n\n{}", scene.title, scene.note, Table::of(scene).to_markdown());
    }
}
