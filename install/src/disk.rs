//! The files of the node that this process runs on.

use std::{
    fs, io,
    io::{ErrorKind, Read as _},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};

use crate::world::{Files, Found, Kind};

/// Bytes. No network configuration is as long.
const LONGEST: u64 = 16 << 20;

pub struct Disk;

impl Files for Disk {
    fn list(&self, folder: &Path) -> Result<Vec<Found>> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries,
        };
        let found = entries.and_then(|entries| {
            let found = entries.map(|entry| {
                let entry = entry?;
                let (path, own) = (entry.path(), entry.file_type()?);
                let kind = match own.is_dir() {
                    true => Kind::Folder,
                    false if path.is_dir() => Kind::LinkedFolder,
                    false => Kind::File,
                };
                Ok(Found { path, kind })
            });
            found.collect::<io::Result<Vec<_>>>()
        });
        let mut found = found.with_context(|| folder.display().to_string())?;
        found.sort();
        Ok(found)
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        // A pipe would be waited for.
        match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                ensure!(!path.is_symlink(), "it is a link that leads nowhere here");
                return Ok(None);
            }
            file => ensure!(file?.is_file(), "it is no regular file"),
        }
        let file = match fs::File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = Vec::new();
        file.take(LONGEST + 1).read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 <= LONGEST, "it is longer than any configuration");
        Ok(Some(bytes))
    }

    fn has(&self, path: &Path) -> bool {
        path.symlink_metadata().is_ok()
    }
}
