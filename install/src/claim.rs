//! That shunt is to be on this node: a file, held by whoever changes something of it. `uninstall`
//! takes it away, and a `watch` that still runs then leaves the node alone.

use std::{
    fs::{self, File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::fcntl::{Flock, FlockArg};

/// Released on drop.
pub struct Claim {
    path: PathBuf,
    _held: Flock<File>,
}

/// Beside the datapath's lock file, which is the plugin's and may come and go.
fn path(lock_file: &Path) -> PathBuf {
    lock_file.with_extension("installed")
}

impl Claim {
    /// Waits for whoever holds it.
    ///
    /// # Errors
    /// Of making or locking the file.
    pub fn stake(lock_file: &Path) -> Result<Self> {
        loop {
            if let Some(claim) = Self::lock(lock_file, true)? {
                return Ok(claim);
            }
        }
    }

    /// As [`Claim::stake`], but `None` if shunt is not to be on this node.
    ///
    /// # Errors
    /// As [`Claim::stake`].
    pub fn take(lock_file: &Path) -> Result<Option<Self>> {
        Self::lock(lock_file, false)
    }

    fn lock(lock_file: &Path, create: bool) -> Result<Option<Self>> {
        let path = path(lock_file);
        let name = || path.display().to_string();
        let file = OpenOptions::new().create(create).truncate(false).write(true).open(&path);
        let file = match file {
            Err(error) if error.kind() == ErrorKind::NotFound && !create => return Ok(None),
            file => file.with_context(name)?,
        };
        let held = Flock::lock(file, FlockArg::LockExclusive);
        let held = held.map_err(|(_, errno)| errno).with_context(name)?;
        // Its last holder may have taken it away.
        let same = fs::metadata(&path).is_ok_and(|now| {
            held.metadata().is_ok_and(|held| (held.ino(), held.dev()) == (now.ino(), now.dev()))
        });
        Ok(same.then_some(Self { path, _held: held }))
    }

    /// Shunt is not to be on this node any more.
    ///
    /// # Errors
    /// Of removing the file.
    pub fn give_up(self) -> Result<()> {
        fs::remove_file(&self.path).with_context(|| self.path.display().to_string())
    }
}
