//! For which folders of configurations the binary is there, in a file beside it: the claim, below /run,
//! is lost by a reboot, the lists are not.

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    attributes::Attributes,
    replace::{Before, replace, whose},
};

const NAME: &str = ".shunt.net-dirs";

pub fn path(bin_dir: &Path) -> PathBuf {
    bin_dir.join(NAME)
}

/// # Errors
/// It is there, and cannot be read or parsed.
pub fn read(bin_dir: &Path) -> Result<BTreeSet<PathBuf>> {
    let path = path(bin_dir);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        text => text.with_context(|| path.display().to_string())?,
    };
    let dirs = serde_json::from_slice(&text);
    dirs.with_context(|| format!("{} cannot be parsed", path.display()))
}

/// Those that are there become these. Who calls it has the claim on the folder.
///
/// # Errors
/// Of writing it; it is then as it was.
pub fn write(bin_dir: &Path, dirs: &BTreeSet<PathBuf>) -> Result<()> {
    if read(bin_dir).is_ok_and(|there| there == *dirs) {
        return Ok(());
    }
    let path = path(bin_dir);
    let written = match dirs.is_empty() {
        true => fs::remove_file(&path).map_err(Into::into),
        false => {
            let text = serde_json::to_vec(dirs)?;
            replace(&path, text.as_slice(), &Attributes::of_root(0o644), Before::Anything, |_| {
                Ok(())
            })
        }
    };
    written.map_err(|error| whose(error, &path))
}
