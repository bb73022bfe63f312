//! All that lies in some folders, to be compared with what lies there later.

use anyhow::{Context, Result};
use std::{
    collections::BTreeMap,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Mode, owner and a hash of the content, by path.
pub struct Listing(BTreeMap<PathBuf, (u32, u32, u32, u64)>);

impl Listing {
    /// Of folders, absolute as seen in that root, without what is to be left out.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn of(root: &Path, folders: &[&str], without: &[&str]) -> Result<Listing> {
        let mut listing = Listing(BTreeMap::new());
        for folder in folders {
            listing.add(root, Path::new(folder), without).with_context(|| (*folder).to_owned())?;
        }
        Ok(listing)
    }

    /// What is here and not there, there and not here, or not the same.
    pub fn differences(&self, other: &Listing) -> Vec<PathBuf> {
        let all = self.0.keys().chain(other.0.keys().filter(|path| !self.0.contains_key(*path)));
        all.filter(|path| self.0.get(*path) != other.0.get(*path)).cloned().collect()
    }

    fn add(&mut self, root: &Path, path: &Path, without: &[&str]) -> io::Result<()> {
        if without.iter().any(|out| path == Path::new(out)) {
            return Ok(());
        }
        let at = root.join(path.strip_prefix("/").unwrap_or(path));
        let found = fs::symlink_metadata(&at)?;
        let mut hash = DefaultHasher::new();
        if found.is_dir() {
            for entry in fs::read_dir(&at)? {
                match self.add(root, &path.join(entry?.file_name()), without) {
                    // It was somebody's who works there.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    added => added?,
                }
            }
        } else if found.is_symlink() {
            fs::read_link(&at)?.hash(&mut hash);
        } else if found.is_file() {
            // A pin is a file that cannot be read.
            fs::read(&at).unwrap_or_default().hash(&mut hash);
        }
        self.0.insert(path.into(), (found.mode(), found.uid(), found.gid(), hash.finish()));
        Ok(())
    }
}
