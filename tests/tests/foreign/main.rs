//! Programs that others wrote, and their own test suites: over plain TCP, and with shunt in one pod
//! and between two. They must say the same and move the same bytes.

mod place;
mod programs;
mod readers;
mod suites;

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use std::{env, path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    let tests = || [programs::tests(), readers::tests(), suites::tests()];
    tests::run(unfold, || tests().into_iter().flatten().collect())
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
