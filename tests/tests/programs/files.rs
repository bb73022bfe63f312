//! The files that are served and posted, each named by its size in bytes.

use anyhow::{Context as _, Result};
use std::{collections::BTreeMap, fs, path::Path, process::Command};
use tests::traffic::Pattern;

/// Nothing, what fits a segment, what does not, and what fills the queues.
pub const SIZES: [usize; 4] = [0, 1024, 65_536, 2 << 20];

/// Writes them into a folder.
///
/// # Errors
/// Of writing there.
pub fn lay(folder: &Path) -> Result<()> {
    for size in SIZES {
        let mut bytes = vec![0; size];
        Pattern { seed: size as u64 }.fill(0, &mut bytes);
        fs::write(folder.join(size.to_string()), bytes)?;
    }
    Ok(())
}

/// Their digests, by name.
///
/// # Errors
/// There are none in that folder.
pub fn sums(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut sha256sum = Command::new("sha256sum");
    let output = sha256sum.args(SIZES.map(|size| size.to_string())).current_dir(folder).output()?;
    let lines = String::from_utf8(output.stdout)?;
    let sums = lines.lines().map(|line| {
        let (sum, name) = line.split_once("  ").context("sha256sum")?;
        Ok((name.to_owned(), sum.to_owned()))
    });
    sums.collect()
}
