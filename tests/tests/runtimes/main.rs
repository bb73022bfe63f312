//! Container runtimes of several Debians: how they call shunt, and what it does for their pods.

mod accelerated;
mod containerd;
mod cri;
mod host;
mod image;
mod leaving;
mod neighbour;
mod pod;
mod podman;
mod readme;
mod refused;
mod status;
mod version_1;

use anyhow::{Context as _, Result};
use containerd::Containerd;
use libtest_mimic::Trial;
use std::{env, path::PathBuf, process::ExitCode};
use tests::{talk, trial};

/// With containerd 1.6, 1.7 and, when this was written, 2.1.
const DEBIANS: [&str; 3] = ["bookworm", "trixie", "sid"];

fn main() -> ExitCode {
    // What runs in pods is this program too.
    talk::is_called().unwrap_or_else(|| tests::run(|| Ok(()), all))
}

fn all() -> Vec<Trial> {
    let mut tests: Vec<Trial> = DEBIANS.into_iter().flat_map(of_containerd).collect();
    tests.extend(neighbour::tests());
    let podman = || podman::pods_are_accelerated(&host::Host::new("bookworm")?);
    tests.push(trial("bookworm::podman::pods_are_accelerated", podman));
    tests.extend(version_1::tests());
    tests
}

/// What each must show.
fn of_containerd(debian: &'static str) -> Vec<Trial> {
    type Test = fn(&Containerd) -> Result<()>;
    let mut tests: Vec<(&str, Test)> = vec![
        ("accelerated::until_they_are_deleted", accelerated::until_they_are_deleted),
        ("accelerated::while_the_runtime_restarts", accelerated::while_the_runtime_restarts),
        ("accelerated::as_annotated", accelerated::as_annotated),
        ("refused::by_the_plugin_before", refused::by_the_plugin_before),
        ("refused::by_the_plugin_behind", refused::by_the_plugin_behind),
        ("leaving::the_node_is_as_it_was", leaving::the_node_is_as_it_was),
        ("image::of_two_processors", image::of_two_processors),
    ];
    // The others do not ask.
    if debian == "sid" {
        tests.push(("status::is_asked", status::is_asked));
    }
    let trial = |(name, test): (&str, Test)| {
        Trial::test(format!("{debian}::{name}"), move || {
            let tested = Containerd::new(debian).and_then(|it| it.told(test(&it)));
            tested.map_err(|error| format!("{error:#}").into())
        })
    };
    tests.into_iter().map(trial).collect()
}

/// Where `scripts/setup runtimes` has unpacked them.
fn folder() -> Result<PathBuf> {
    Ok(env::var_os("RUNTIMES").context("RUNTIMES is not set: make test-runtimes sets it")?.into())
}
