//! The kernel that tests run on.

use anyhow::{Context as _, Result};
use nix::sys::utsname::uname;

/// Major and minor, of uname(2).
///
/// # Errors
/// It has none.
pub fn version() -> Result<(u32, u32)> {
    parse(uname()?.release().to_str().context("kernel release")?)
}

/// The first two numbers of a release.
///
/// # Errors
/// There are no two.
pub fn parse(release: &str) -> Result<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let mut next = || numbers.next().context("no version")?.with_context(|| release.to_owned());
    Ok((next()?, next()?))
}
