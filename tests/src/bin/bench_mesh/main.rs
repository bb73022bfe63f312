//! `make bench-mesh`: two applications on one node, without a mesh and in Ambient's shape, by plain TCP
//! and with shunt, in turn.

mod echo;
mod load;
mod mesh;

use anyhow::{Context as _, Result};
use clap::Parser;
use load::Measured;
use mesh::{Kind, Mesh};
use std::{path::PathBuf, time::Duration};
use tests::{
    node::Node,
    ratio::{Ratio, median},
    sandbox::{self, Pins},
    table,
};

/// Requests of 1 KiB from application to application, through a Service's address in a mesh.
#[derive(Parser)]
struct Args {
    /// In each, all are measured once, in turn, each with fresh pods and proxies
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Length of each measurement, in milliseconds
    #[arg(long, default_value_t = 1000)]
    window: u64,
    /// How many connections there are
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32,64,128")]
    connections: Vec<usize>,
    /// Only these meshes
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Kind::ALL)]
    meshes: Vec<Kind>,
    /// Requests a second where latency is measured
    #[arg(long, default_value_t = 1024)]
    rate: u32,
    /// Envoy's binary
    #[arg(long, env)]
    envoy: PathBuf,
}

/// With and without shunt; where there is no mesh, without.
const HALVES: [(bool, bool); 3] = [(false, false), (true, false), (true, true)];
const DIRECT: usize = 0;
const PLAIN: usize = 1;
const SHUNT: usize = 2;

/// One number of connections: as many requests as can be and at the fixed rate, by half and round.
#[derive(Default)]
struct Row([[Vec<Measured>; 2]; HALVES.len()]);

impl Row {
    fn ratio(&self, of: usize, load: usize, what: fn(&Measured) -> f64) -> Ratio {
        let all = |half: usize| self.0[half][load].iter().map(what).collect::<Vec<_>>();
        Ratio::new(&all(of), &all(PLAIN))
    }

    fn plain(&self, load: usize, what: fn(&Measured) -> f64) -> String {
        format!("{:.0}", median(&self.0[PLAIN][load].iter().map(what).collect::<Vec<_>>()))
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    sandbox::enter(Pins::Private)?;
    let node = Node::new("bench_mesh")?;
    for kind in &args.meshes {
        let rows = measure(&node, &args, *kind).with_context(|| kind.to_string())?;
        println!("\n{kind}: requests a second, and latency at {} a second, in µs\n", args.rate);
        show(&args.connections, &rows);
    }
    Ok(())
}

fn measure(node: &Node, args: &Args, kind: Kind) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = args.connections.iter().map(|_| Row::default()).collect();
    for round in 0..args.rounds as usize {
        for turn in 0..HALVES.len() {
            // In another order each time, as what ran before may matter.
            let half = (turn + round) % HALVES.len();
            let (in_mesh, shunt) = HALVES[half];
            let mesh = Mesh::new(node, in_mesh.then_some(kind), shunt, &args.envoy)?;
            for (connections, row) in args.connections.iter().zip(&mut rows) {
                let time = Duration::from_millis(args.window);
                for (load, rate) in [None, Some(args.rate)].into_iter().enumerate() {
                    row.0[half][load].push(mesh.load(*connections, rate, time)?);
                }
            }
            eprintln!("{kind}: round {}/{}, {}/{}", round + 1, args.rounds, turn + 1, HALVES.len());
        }
    }
    Ok(rows)
}

fn show(connections: &[usize], rows: &[Row]) {
    let head = [
        "connections",
        "plain/s",
        "shunt/plain",
        "no mesh/plain",
        "plain mean",
        "shunt/plain",
        "p50",
        "shunt/plain",
        "p90",
        "shunt/plain",
        "p99",
        "shunt/plain",
    ];
    let text = |(connections, row): (&usize, &Row)| {
        let mut text = vec![
            connections.to_string(),
            row.plain(0, |it| it.rate),
            row.ratio(SHUNT, 0, |it| it.rate).to_string(),
            row.ratio(DIRECT, 0, |it| it.rate).to_string(),
        ];
        let latencies: [fn(&Measured) -> f64; 4] =
            [|it| it.mean, |it| it.p50, |it| it.p90, |it| it.p99];
        for what in latencies {
            text.extend([row.plain(1, what), row.ratio(SHUNT, 1, what).to_string()]);
        }
        text
    };
    table::print(&head, &connections.iter().zip(rows).map(text).collect::<Vec<_>>());
}
