//! What an application sees of its sockets: the same by plain TCP, on an accelerated connection from
//! its first byte on, and on one that has been on the short way. What differs docs/limits.md lists.

mod blocking;
mod closing;
mod connecting;
mod end;
mod handing;
mod limits;
mod options;
mod programs;
pub mod raw;
mod reading;
mod scene;
mod sharing;
mod urgent;
mod uring;
mod waiting;
mod writing;

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Completion, Failed, Trial};
use std::{env, fmt, sync::Arc};

use self::{
    end::patience,
    scene::{Scene, Setting, Shared, Way},
};

/// What a program does, and sees. `Err` fails the test where it is by plain TCP.
type Observe = fn(Scene) -> Result<String>;
/// The name is docs/limits.md's.
type Row = (&'static str, Observe);

/// One of each kind: a test of one of these ends in `::short`.
const SHORT: &[&str] = &[
    "bytes_waiting",
    "writev",
    "epoll_edge",
    "urgent_byte",
    "half_close",
    "within_one_pod",
    "passed_to_a_process",
    "splice_from_socket",
    "uring_send_and_recv",
    "tcp_info",
    "blocked_recv",
];

/// An observation that starts so is none: the rest says what this kernel lacks.
const LACKS: &str = "this kernel has no ";

pub fn tests() -> Vec<Trial> {
    let nonblocking = [
        reading::ROWS,
        writing::ROWS,
        waiting::ROWS,
        urgent::ROWS,
        closing::ROWS,
        connecting::ROWS,
        sharing::ROWS,
        handing::ROWS,
        uring::ROWS,
        options::ROWS,
        programs::ROWS,
    ];
    let nonblocking = nonblocking.into_iter().flatten().map(|row| (row, false));
    let blocking = [blocking::ROWS, uring::BLOCKING_ROWS];
    let blocking = blocking.into_iter().flatten().map(|row| (row, true));
    let rows: Vec<_> = nonblocking.chain(blocking).collect();
    let names: Vec<_> = rows.iter().map(|((name, _), _)| *name).collect();
    let limits = Trial::test("semantics::limits_lists_only_rows", move || {
        limits::names_only(&names).map_err(|error| format!("{error:#}").into())
    });
    let pods = Arc::new(Shared::default());
    let trial = |(row, blocking): (&'static Row, bool)| {
        let pods = pods.clone();
        let short = if SHORT.contains(&row.0) { "::short" } else { "" };
        Trial::ignorable_test(format!("semantics::{}{short}", row.0), move || {
            compare(row, blocking, &pods).map_err(|error| format!("{error:#}"))?
        })
    };
    rows.into_iter().map(trial).chain([limits]).collect()
}

/// A row of the table.
struct Seen {
    name: &'static str,
    ways: [(Way, String); 3],
}

impl Seen {
    fn differs(&self) -> bool {
        self.ways.iter().any(|(_, seen)| *seen != self.ways[0].1)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.name)?;
        self.ways.iter().try_for_each(|(way, seen)| write!(f, "\n  {way:?}: {seen}"))
    }
}

fn compare(row: &Row, blocking: bool, pods: &Shared) -> Result<Result<Completion, Failed>> {
    let (name, observe) = *row;
    let see = |way| both_ends_act(observe, pods, way, blocking);
    let plain = see(Way::Plain).context("by plain TCP")?;
    ensure!(!plain.contains("hangs"), "by plain TCP: {plain}");
    if plain.starts_with(LACKS) {
        return Ok(Ok(Completion::ignored_with(plain)));
    }
    let accelerated = |way| see(way).with_context(|| format!("{way:?}")).map(|seen| (way, seen));
    let ways = [(Way::Plain, plain), accelerated(Way::Fresh)?, accelerated(Way::Warm)?];
    let seen = Seen { name, ways };
    if env::var_os("SHUNT_TEST_TABLE").is_some() {
        println!("{seen}");
    }
    let listed = pods.with(|pods| limits::lists(name, pods))?;
    Ok(match (seen.differs(), listed) {
        (true, Some(false)) => {
            Err(format!("it differs, and docs/limits.md does not list it: {seen}").into())
        }
        (false, Some(true)) => {
            Err(format!("docs/limits.md lists it, and it does not differ: {seen}").into())
        }
        _ => Ok(Completion::Completed),
    })
}

/// The client as the one that acts, and the server.
fn both_ends_act(observe: Observe, pods: &Shared, way: Way, blocking: bool) -> Result<String> {
    let act = |client_acts| {
        pods.with(|pods| {
            let setting = Setting { pods, way, blocking, client_acts };
            let task = pods.shunted[0].spawn(|| observe(setting.scene()?))?;
            if task.runs_after(patience() * 5)? { Ok("hangs".to_owned()) } else { task.join() }
        })
    };
    let (client, server) = (act(true)?, act(false)?);
    Ok(if client == server { client } else { format!("client: {client}; server: {server}") })
}
