//! `make bench-sizes`: messages of many sizes on one to many connections, by plain TCP, by AF_UNIX
//! and the short way, where shunt only looks on, and by a textbook accelerator, in turn.

mod cell;
mod client;
mod picture;
mod server;
mod transport;

use anyhow::{Context as _, Result, ensure};
use cell::{Cell, Measured};
use clap::Parser;
use std::{path::PathBuf, time::Duration};
use tests::{
    neighbour::textbook::Textbook,
    node::Node,
    pod::PodSpec,
    ratio::Ratio,
    sandbox::{self, Pins},
    save::save,
    table,
};
use transport::{TRANSPORTS, Transport};

/// Measures messages of many sizes by plain TCP, AF_UNIX and the short way, all on loopback.
#[derive(Parser)]
struct Args {
    /// In each, every transport is measured once, in turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Length of each measurement, in milliseconds
    #[arg(long, default_value_t = 200)]
    window: u64,
    /// `queueLimit` of the conf, bytes
    #[arg(long)]
    queue_limit: Option<u32>,
    /// Only the cells whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Where sizes.svg goes
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

/// A cell in all rounds.
pub struct Row {
    pub cell: Cell,
    /// By the transports, in their order.
    measured: [Vec<Measured>; TRANSPORTS.len()],
}

const PLAIN: usize = 0;
const UNIX: usize = 1;
const SHUNT: usize = 2;
const OBSERVED: usize = 3;
const TEXTBOOK: usize = 4;

impl Row {
    fn rates(&self, transport: usize) -> Vec<f64> {
        self.measured[transport].iter().map(|measured| measured.rate).collect()
    }

    pub fn shunt_to_plain(&self) -> Ratio {
        Ratio::new(&self.rates(SHUNT), &self.rates(PLAIN))
    }

    pub fn unix_to_plain(&self) -> Ratio {
        Ratio::new(&self.rates(UNIX), &self.rates(PLAIN))
    }

    fn observed_to_plain(&self) -> Ratio {
        Ratio::new(&self.rates(OBSERVED), &self.rates(PLAIN))
    }

    fn shunt_to_textbook(&self) -> Option<Ratio> {
        let textbook = self.rates(TEXTBOOK);
        (!textbook.is_empty()).then(|| Ratio::new(&self.rates(SHUNT), &textbook))
    }

    fn cpu(&self) -> Ratio {
        let cost = |transport: usize| -> Vec<f64> {
            let of = |measured: &Measured| measured.cpu.as_secs_f64() / measured.rate;
            self.measured[transport].iter().map(of).collect()
        };
        Ratio::new(&cost(SHUNT), &cost(PLAIN))
    }

    /// What the cell should reach, and whether it does.
    fn judge(&self) -> (String, bool) {
        let (shunt, unix) = (self.shunt_to_plain().median, self.unix_to_plain().median);
        let bound = match self.cell.least() {
            Some(least) => least,
            None => unix.min(1.0),
        };
        (format!("{bound:.2}"), shunt >= bound)
    }

    fn text(&self) -> Vec<String> {
        let (bound, reached) = self.judge();
        vec![
            self.cell.to_string(),
            self.cell.amount(tests::ratio::median(&self.rates(PLAIN))),
            self.unix_to_plain().to_string(),
            self.shunt_to_plain().to_string(),
            format!("{:.2}", self.cpu().median),
            self.observed_to_plain().to_string(),
            self.shunt_to_textbook().map_or_else(String::new, |ratio| ratio.to_string()),
            format!("{bound}{}", if reached { "  " } else { " !" }),
        ]
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    sandbox::enter(Pins::Private)?;
    let node = Node::new("bench")?;
    let mut spec = PodSpec::new("shunt");
    if let Some(limit) = args.queue_limit {
        spec.conf.insert("queueLimit".into(), limit.into());
    }
    let looked_at = PodSpec::new("observed").annotate("shunt/mode", "observe");
    let plain = node.outside("plain")?;
    let (shunt, observed) = (node.pod_with(spec)?, node.pod_with(looked_at)?);
    let textbook = node.outside("textbook")?;
    let _textbook = Textbook::attach(&[&textbook.cgroup]).context("the textbook's accelerator")?;
    let pods = [&plain, &plain, &shunt, &observed, &textbook];
    let mut servers = Vec::new();
    for (pod, transport) in pods.into_iter().zip(TRANSPORTS) {
        servers.push(server::start(pod, transport)?);
    }
    let window = Duration::from_millis(args.window);
    let cells: Vec<Cell> =
        cell::all().filter(|cell| cell.to_string().contains(&args.only)).collect();
    let mut rows = Vec::new();
    for (number, &cell) in cells.iter().enumerate() {
        let mut measured: [Vec<Measured>; TRANSPORTS.len()] = Default::default();
        for round in 0..args.rounds as usize {
            // In another order each time, as what ran before may matter.
            for turn in 0..TRANSPORTS.len() {
                let at = (turn + round) % TRANSPORTS.len();
                let transport: Transport = TRANSPORTS[at];
                if !transport.bears(cell.load) {
                    continue;
                }
                measured[at].push(client::measure(
                    pods[at],
                    transport,
                    cell,
                    window,
                    &node.cgroup,
                )?);
            }
        }
        let row = Row { cell, measured };
        println!("{}/{}  {}", number + 1, cells.len(), row.text().join("  "));
        rows.push(row);
    }
    let head = [
        "",
        "plain TCP",
        "AF_UNIX/plain",
        "shunt/plain",
        "CPU",
        "observed/plain",
        "shunt/textbook",
        "at least",
    ];
    println!();
    table::print(&head, &rows.iter().map(Row::text).collect::<Vec<_>>());
    let missed = rows.iter().filter(|row| !row.judge().1).count();
    println!("\n{missed} of {} below what they should reach (!)", rows.len());
    let to_plain: Vec<_> = rows.iter().map(|row| row.observed_to_plain().median).collect();
    println!("observed: {:.3} of plain, the median of all", tests::ratio::median(&to_plain));
    let beside: Vec<_> =
        rows.iter().filter_map(|row| Some(row.shunt_to_textbook()?.median)).collect();
    if !beside.is_empty() {
        println!("shunt: {:.3} of a textbook accelerator, likewise", tests::ratio::median(&beside));
    }
    let looked_on = node.counters(&observed)?;
    ensure!(looked_on.shunted.messages == 0, "accelerated where one observes: {looked_on:?}");
    let counters = node.counters(&shunt)?;
    println!("shunted {:?}, by TCP {:?}, {:?}", counters.shunted, counters.by_tcp, counters.to_tcp);
    save(&args.out, "sizes.svg", &picture::draw(&rows))
}
