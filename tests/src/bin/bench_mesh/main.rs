//! `make bench-mesh`: two applications on one node, without a mesh, with sidecars and in Ambient's shape,
//! by plain TCP and with shunt, in turn.

mod load;
mod mesh;
mod part;
mod report;
mod series;
mod tables;

use anyhow::{Context as _, Result};
use clap::Parser;
use mesh::{Kind, Mesh};
use series::{Load, Series};
use std::{path::PathBuf, time::Duration};
use tables::Table;
use tests::{
    cpu, envoy,
    node::Node,
    page,
    progress::Progress,
    sandbox::{self, Pins},
    save::save,
    table,
};

/// Requests of 1 KiB from application to application, through a Service's address in Ambient.
#[derive(Parser)]
struct Args {
    /// In each, all are measured once, in turn, with fresh pods and proxies
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Length of each measurement, in milliseconds
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    window: u64,
    /// How many connections there are
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32,64,128")]
    connections: Vec<usize>,
    /// Only these meshes
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Kind::ALL)]
    meshes: Vec<Kind>,
    /// Requests a second where latency is measured
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Envoy's binary
    #[arg(long, env)]
    envoy: PathBuf,
    /// Where mesh.html goes
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    sandbox::enter(Pins::Private)?;
    let all = measure(&args)?;
    let of = |kind: &Kind| tables::of(*kind, &all, &args.connections, args.rate);
    let tables: Vec<_> = args.meshes.iter().flat_map(of).collect();
    for Table { title, head, rows } in &tables {
        println!("\n{title}\n");
        table::print(head, rows);
    }
    let mut setting = format!(
        "Requests of 1 KiB from application to application and back, all on {}; {} rounds, {} ms each. ",
        page::machine()?,
        args.rounds,
        args.window
    );
    let measured = all.iter().flat_map(|series| series.measured.iter().flatten().flatten());
    if let Some(note) = cpu::note_of_others(measured.map(|measured| measured.bill.spent)) {
        println!("\n{note}");
        setting += &note;
    }
    println!();
    let page = report::page(&setting, &all, &args.connections, args.rate, &tables);
    save(&args.out, "mesh.html", &page)
}

/// All meshes are there at once: what the machine does besides changes with time, so neighbours in time
/// are compared.
fn measure(args: &Args) -> Result<Vec<Series>> {
    let node = Node::new("bench_mesh")?;
    let envoy = envoy::mount(&args.envoy)?;
    let time = Duration::from_millis(args.window);
    let loads = [(Load::Most, None), (Load::Fixed, Some(args.rate))];
    let mut all = Series::all(&args.meshes, args.connections.len());
    let mut progress = Progress::new(args.rounds as usize * args.connections.len());
    for round in 1..=args.rounds {
        let new = |series: &Series| Mesh::new(&node, series.kind, series.shunt, &envoy);
        let meshes = all.iter().map(new).collect::<Result<Vec<_>>>()?;
        for (place, connections) in args.connections.iter().enumerate() {
            for (load, rate) in loads {
                for turn in 0..all.len() {
                    // In another order each time, as what ran before may matter.
                    let at = (turn + round as usize) % all.len();
                    let measured = meshes[at].load(*connections, rate, time);
                    let name = || format!("{}, {connections} connections", all[at]);
                    let measured = measured.with_context(name)?;
                    all[at].measured[place][load as usize].push(measured);
                }
            }
            progress.step(&format!("round {round}/{}, {connections} connections", args.rounds));
        }
        for (mesh, series) in meshes.iter().zip(&all) {
            mesh.check().with_context(|| series.to_string())?;
        }
    }
    Ok(all)
}
