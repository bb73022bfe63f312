//! Files that a measurement leaves.

use anyhow::{Context as _, Result};
use std::{fs, path::Path};

/// Writes the file, makes its folder if need be, and tells of it.
///
/// # Errors
/// Of writing, with the path.
pub fn save(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&path, text))
        .with_context(|| format!("write {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}
