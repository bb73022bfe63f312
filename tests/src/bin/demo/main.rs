//! `make demo`: two pods of a service mesh on one node, without shunt and with it.

mod chart;
mod evidence;
mod report;
mod stats;
mod table;

use anyhow::{Context, Result};
use clap::Parser;
use evidence::Evidence;
use stats::{METRICS, Series};
use std::{fs, io, path::PathBuf, time::Duration};
use tests::{
    cpu, envoy,
    latency::Measured,
    load::Load,
    node::Node,
    page,
    sandbox::{self, Pins},
    save::save,
    sidecars::{Half, Sidecars},
    table::print as print_table,
    traffic::Mode::{Blocking, NonBlocking},
};

/// Measures two pods with sidecars, off and on in turn, and writes a report.
#[derive(Parser)]
struct Args {
    /// In each, fresh pods without and with shunt are measured in turn
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Length of each measurement
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// At the end, keep the last accelerated pods until Enter or ctrl-C
    #[arg(long)]
    hold: bool,
    /// The TCP load also in blocking mode, behind epoll, by programs named in pollingPrograms
    #[arg(long)]
    blocking: bool,
    /// Also with a textbook accelerator, which has no bounds and no order, in place of shunt
    #[arg(long)]
    textbook: bool,
    /// Envoy's binary
    #[arg(long, env)]
    envoy: PathBuf,
    /// Where report.html and effect.svg go
    #[arg(long, default_value = "target/demo")]
    out: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    sandbox::enter(Pins::Host)?;
    let pins = sandbox::pins()?;
    let mut node = Node::with_pins("demo", pins.clone())?;
    // It asks FIONREAD, but only where its buffer of 8 KiB was filled.
    node.trust("wrk");
    let mut scenes: Vec<Scene> = vec![
        ("TCP", "TCP echo, 1 KB, 64 connections", tcp, Series::default()),
        ("HTTP", "HTTP, 1 KB, 64 connections", http, Series::default()),
    ];
    if args.blocking {
        node.poll_in_blocking_mode();
        let title = "TCP echo, 1 KB, 64 connections in blocking mode";
        scenes.push(("TCP, blocking", title, blocking, Series::default()));
    }
    let envoy = envoy::mount(&args.envoy)?;
    let time = Duration::from_secs(args.seconds);

    let width = scenes.iter().map(|(name, ..)| name.len()).max().unwrap_or_default();
    let new = |half| Sidecars::new(&node, half, &envoy, &[]);
    println!(
        "Two pods with Envoy sidecars on this machine, without shunt (off) and with it (on) in turn: {} rounds.",
        args.rounds
    );
    let mut last = None;
    for round in 1..=args.rounds {
        drop(last.take());
        let off = new(Half::Off)?;
        let on = new(Half::On)?;
        let textbook = args.textbook.then(|| new(Half::Textbook)).transpose()?;
        // What the machine does besides changes with time: neighbours in time are compared.
        let mut halves = vec![(&off, Half::Off), (&on, Half::On)];
        halves.extend(textbook.as_ref().map(|mesh| (mesh, Half::Textbook)));
        if round % 2 == 0 {
            halves.reverse();
        }
        for (name, _, load, series) in &mut scenes {
            for &(mesh, half) in &halves {
                let measured = load(mesh, &node, time)?;
                println!(
                    "round {round}/{}  {name:<width$}  {half}  {}",
                    args.rounds,
                    brief(&measured)
                );
                series.half(half).push(measured);
            }
        }
        let failed = || {
            let log = fs::read_to_string(node.log()).unwrap_or_default();
            format!("shunt has not accelerated the pods; its log:\n{log}")
        };
        last = Some((evidence::read(&on, &pins).with_context(failed)?, on));
    }
    let (evidence, _mesh) = last.context("no round")?;

    let loads: Vec<_> = scenes.iter().map(|(_, title, _, series)| (*title, series)).collect();
    print(&loads, &evidence);
    let all = loads.iter().flat_map(|(_, series)| series.off.iter().chain(&series.on));
    if let Some(note) = cpu::note_of_others(all.map(|measured| measured.spent)) {
        println!("\n{note}");
    }
    write(&args, &loads, &evidence)?;
    if args.hold {
        println!("\nThe pods run until Enter is pressed. Their maps are in {}.", pins.display());
        io::stdin().read_line(&mut String::new())?;
    }
    Ok(())
}

/// Its name, its title, the load, and what was measured.
type Scene = (&'static str, &'static str, Measure, Series);
type Measure = fn(&Sidecars, &Node, Duration) -> Result<Measured>;

fn tcp(mesh: &Sidecars, node: &Node, time: Duration) -> Result<Measured> {
    mesh.tcp(node, Load::new(NonBlocking, time))
}

/// The same with load and server in blocking mode, behind epoll.
fn blocking(mesh: &Sidecars, node: &Node, time: Duration) -> Result<Measured> {
    mesh.tcp(node, Load::new(Blocking, time))
}

/// After a second to warm up.
fn http(mesh: &Sidecars, node: &Node, time: Duration) -> Result<Measured> {
    mesh.http(node, 64, 1024, Duration::from_secs(1))?;
    mesh.http(node, 64, 1024, time)
}

fn brief(measured: &Measured) -> String {
    let [requests, latency, ..] = METRICS.each_ref().map(|metric| (metric.of)(measured));
    format!("{requests:6.0}/s, mean {latency:5.0} µs")
}

fn print(loads: &[(&str, &Series)], evidence: &Evidence) {
    println!("\non/off: the median of the rounds' ratios, and their range");
    for (title, series) in loads {
        println!("\n{title}");
        print_table(table::head(series), &table::comparison(series));
    }
    println!("\nWhich way the bytes went in the last round with shunt");
    print_table(&table::COUNTERS, &table::counters(evidence));
    println!(
        "\nShunt's own maps have counted that. The report has what these commands showed of them:"
    );
    evidence.dumps.iter().for_each(|(command, _)| println!("  {command}"));
}

fn write(args: &Args, loads: &[(&str, &Series)], evidence: &Evidence) -> Result<()> {
    let Args { out, rounds, seconds, .. } = args;
    let setting = format!(
        "Application, load and an Envoy sidecar in each of two pods, all on {}; {rounds} rounds of \
         {seconds} s each.",
        page::machine()?
    );
    let charts = loads.iter().map(|(title, series)| chart::chart(title, series));
    let charts: Vec<_> = charts.collect();
    save(out, "report.html", &report::page(&setting, loads, evidence))?;
    save(out, "effect.svg", &chart::picture(&charts))
}
