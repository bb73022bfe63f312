//! `make demo`: two pods of a service mesh on one node, without shunt and with it.

mod chart;
mod evidence;
mod http;
mod load;
mod mesh;
mod report;
mod server;
mod stats;
mod table;
mod wrk;

use anyhow::{Context, Result};
use clap::Parser;
use evidence::Evidence;
use mesh::Mesh;
use nix::sys::utsname::uname;
use stats::{Half, METRICS, Measured, Series};
use std::{
    fs, io,
    path::{Path, PathBuf},
    thread::available_parallelism,
    time::Duration,
};
use tests::{
    envoy,
    node::Node,
    sandbox::{self, Pins},
    table::print as print_table,
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
    let mut scenes: Vec<Scene> = vec![
        ("TCP", "TCP echo, 1 KB, 64 connections", Mesh::tcp, Series::default()),
        ("HTTP", "HTTP, 1 KB, 64 connections", Mesh::http, Series::default()),
    ];
    if args.blocking {
        node.poll_in_blocking_mode();
        let title = "TCP echo, 1 KB, 64 connections in blocking mode";
        scenes.push(("TCP, blocking", title, Mesh::blocking, Series::default()));
    }
    let envoy = envoy::mount(&args.envoy)?;
    let time = Duration::from_secs(args.seconds);

    let width = scenes.iter().map(|(name, ..)| name.len()).max().unwrap_or_default();
    let mut last = None;
    for round in 1..=args.rounds {
        drop(last.take());
        let off = Mesh::new(&node, Half::Off, &envoy)?;
        let on = Mesh::new(&node, Half::On, &envoy)?;
        // What the machine does besides changes with time: neighbours in time are compared.
        let mut halves = [(&off, Half::Off), (&on, Half::On)];
        if round % 2 == 0 {
            halves.reverse();
        }
        for (name, _, load, series) in &mut scenes {
            for (mesh, half) in halves {
                let measured = load(mesh, time)?;
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
    warn_of_others(&loads);
    write(&args, &loads, &evidence)?;
    if args.hold {
        println!("\nThe pods run until Enter is pressed. Their maps are in {}.", pins.display());
        io::stdin().read_line(&mut String::new())?;
    }
    Ok(())
}

/// Its name, its title, the load, and what was measured.
type Scene<'n> = (&'static str, &'static str, fn(&Mesh<'n>, Duration) -> Result<Measured>, Series);

fn brief(measured: &Measured) -> String {
    let [requests, latency, ..] = METRICS.each_ref().map(|metric| (metric.of)(measured));
    format!("{requests:6.0}/s, mean {latency:5.0} µs")
}

fn print(loads: &[(&str, &Series)], evidence: &Evidence) {
    for (title, series) in loads {
        println!("\n{title}");
        print_table(&table::COMPARISON, &table::comparison(series));
    }
    println!("\nWhich way the bytes went in the last round with shunt");
    print_table(&table::COUNTERS, &table::counters(evidence));
    for (command, output) in &evidence.dumps {
        println!("\n# {command}\n{output}");
    }
}

/// The measurements are of the whole machine, so whatever else ran on it is in them.
fn warn_of_others(loads: &[(&str, &Series)]) {
    let all = loads.iter().flat_map(|(_, series)| series.off.iter().chain(&series.on));
    let (others, total) = all.fold((0.0, 0.0), |(others, total), measured| {
        let spent = measured.spent;
        let other = spent.all.saturating_sub(spent.pods).as_secs_f64();
        (others + other, total + spent.all.as_secs_f64())
    });
    if others > total / 20.0 {
        println!(
            "\nNote: {:.0} % of the CPU time went to something else on this machine: it is in \
             these numbers.",
            others / total * 100.0
        );
    }
}

fn write(args: &Args, loads: &[(&str, &Series)], evidence: &Evidence) -> Result<()> {
    let Args { out, rounds, seconds, .. } = args;
    let kernel = uname()?.release().display().to_string();
    let setting = format!(
        "Application, load and an Envoy sidecar in each of two pods, all on one machine of {} \
         processors, Linux {kernel}; {rounds} rounds of {seconds} s each.",
        available_parallelism()?
    );
    let charts = loads.iter().map(|(title, series)| chart::chart(title, series));
    let charts: Vec<_> = charts.collect();
    fs::create_dir_all(out)?;
    save(&out.join("report.html"), &report::page(&setting, loads, evidence))?;
    save(&out.join("effect.svg"), &chart::picture(&charts))
}

fn save(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}
