//! Programs that others wrote, and their own test suites: over plain TCP, and with shunt in one pod
//! and between two. They must say the same and move the same bytes.

mod place;
mod programs;
mod suites;

use anyhow::{Context as _, Result};
use libtest_mimic::{Arguments, run};
use nix::mount::{MsFlags, mount};
use std::{env, path::PathBuf, process::ExitCode};
use tests::sandbox;

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // Tests fork, so they run on the main thread and there is no other.
    args.test_threads = Some(1);
    if !args.list
        && let Err(e) = sandbox::enter(sandbox::Pins::Private).and_then(|()| unfold())
    {
        eprintln!("{e:#}");
        return ExitCode::FAILURE;
    }
    let tests = [programs::tests(), suites::tests()].into_iter().flatten().collect();
    run(&args, tests).exit_code()
}

/// Where `scripts/setup foreign` has unpacked them.
fn folder() -> Result<PathBuf> {
    Ok(env::var_os("FOREIGN").context("FOREIGN is not set: make test-foreign sets it")?.into())
}

/// Lays Debian's packages over this sandbox's /usr, so that they are where they expect to be.
fn unfold() -> Result<()> {
    let layers = format!("lowerdir={}:/usr", folder()?.join("root/usr").display());
    let (overlay, read_only) = (Some("overlay"), MsFlags::MS_RDONLY);
    mount(overlay, "/usr", overlay, read_only, Some(layers.as_str())).with_context(|| layers)
}
