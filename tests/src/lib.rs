//! What every test that needs a kernel stands on: pods as values, made by a real CNI chain in
//! namespaces of their own and taken away on drop.
//!
//! ```no_run
//! # use tests::{node::Node, sandbox, task::Signal};
//! # use std::net::{TcpListener, TcpStream};
//! # fn main() -> anyhow::Result<()> {
//! sandbox::enter(sandbox::Pins::Private)?; // first thing in main
//! let node = Node::new("example")?;
//! let (a, b) = (node.pod("a")?, node.pod("b")?);
//! let listening = Signal::new()?;
//! let server = b.spawn(|| {
//!     let listener = TcpListener::bind("[::]:80")?;
//!     listening.raise()?;
//!     Ok(listener.accept()?.1)
//! })?;
//! listening.wait()?;
//! a.run(|| Ok(TcpStream::connect((b.ipv4, 80)).map(drop)?))?;
//! let peer = server.join()?;
//! # drop(peer); Ok(()) }
//! ```

pub mod ambient;
pub mod bare;
pub mod bpftool;
pub mod cgroup;
pub mod cni;
pub mod cpu;
pub mod envoy;
pub mod histogram;
pub mod http;
pub mod istio;
pub mod kernel;
pub mod latency;
pub mod leg;
pub mod lines;
pub mod link;
pub mod listening;
pub mod listing;
pub mod load;
pub mod maps;
pub mod mptcp;
pub mod neighbour;
pub mod netns;
pub mod node;
pub mod page;
pub mod picture;
pub mod pod;
pub mod populated;
pub mod program_time;
pub mod progress;
pub mod ratio;
pub mod relay;
pub mod ring;
pub mod root;
pub mod sandbox;
pub mod save;
pub mod scale;
pub mod server;
pub mod shuntctl;
pub mod sidecars;
pub mod smc;
pub mod sockopt;
pub mod table;
pub mod talk;
pub mod task;
pub mod traffic;
pub mod waypoint;
pub mod wrk;

use libtest_mimic::Arguments;
use std::process::ExitCode;

/// A test that this machine cannot run is counted as ignored, and says what the machine lacks.
pub fn needs(trial: libtest_mimic::Trial, there: bool, lacking: &str) -> libtest_mimic::Trial {
    if there { trial } else { trial.with_kind(lacking).with_ignored_flag(true) }
}

/// What an executable of tests does: runs those that its arguments name in a sandbox, which is made
/// ready for them first.
pub fn run(
    ready: impl FnOnce() -> anyhow::Result<()>,
    tests: impl FnOnce() -> Vec<libtest_mimic::Trial>,
) -> ExitCode {
    let mut args = Arguments::from_args();
    // Tests fork, so they run on the main thread and there is no other.
    args.test_threads = Some(1);
    if !args.list
        && let Err(e) = sandbox::enter(sandbox::Pins::Private).and_then(|()| ready())
    {
        eprintln!("{e:#}");
        return ExitCode::FAILURE;
    }
    libtest_mimic::run(&args, tests()).exit_code()
}

/// A test of that name; a failure tells all its causes.
pub fn trial(
    name: &str,
    test: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> libtest_mimic::Trial {
    libtest_mimic::Trial::test(name, move || test().map_err(|error| format!("{error:#}").into()))
}
