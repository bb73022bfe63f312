//! All that commands do to a node, a step at a time. The commands are written once over this: the
//! search in `search/` runs them over a model, in every order.

use std::{
    collections::BTreeSet,
    fs, io,
    io::ErrorKind,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use shim::{
    cgroup::{self, Cgroup},
    lock::Lock,
    refusal::Refusal,
};

use crate::{
    binary,
    change::{Change, Replaced},
    claim::{self, Claim, Claimed, Purpose},
    conflist::SHUNT,
    disk::Disk,
    drain::{self, Left, Patience},
    entry::Wanted,
    install::PATIENCE,
    net_dirs,
    paths::{Cni, Datapath},
    replace::remove_unfinished,
    settings,
};

/// What lies in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Found {
    pub path: PathBuf,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    File,
    /// It or what it links to is one.
    Folder,
    LinkedFolder,
}

/// What there is to be read.
pub trait Files {
    /// By name as bytes. No folder: nothing.
    ///
    /// # Errors
    /// It cannot be read.
    fn list(&self, folder: &Path) -> Result<Vec<Found>>;

    /// None: there is no such file any more.
    ///
    /// # Errors
    /// It cannot be read, or is a link that leads nowhere, or no regular file.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>>;

    /// Also a link to nowhere: it may lead somewhere only outside this container.
    fn has(&self, path: &Path) -> bool;
}

/// What of shunt is outside the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    Binary,
    /// For which folders it is there.
    NetDirs,
    /// What a killed process left while writing.
    Unfinished,
    Pins,
    LockFile,
}

pub trait World: Files {
    type Claim;

    /// # Errors
    /// Of the file that is the claim.
    fn claim(&self, purpose: Purpose) -> Result<Claimed<Self::Claim>>;

    /// Shunt is off this node.
    ///
    /// # Errors
    /// Of removing the file that is the claim.
    fn give_up(&self, claim: Self::Claim) -> Result<()>;

    /// Loads and pins the programs, unless they are, as the entry wants them.
    ///
    /// # Errors
    /// No pod will be accelerated.
    fn load(&self, wanted: &Wanted) -> Result<(), Refusal>;

    /// Other folders of configurations that shunt was installed for.
    ///
    /// # Errors
    /// One of the files that tell it is there, and cannot be read.
    fn others(&self, claim: &Self::Claim) -> Result<BTreeSet<PathBuf>>;

    /// That the lists of this folder may name the binary from now on.
    ///
    /// # Errors
    /// Of writing it.
    fn remember(&self, claim: &Self::Claim) -> Result<()>;

    /// That they do not any more.
    ///
    /// # Errors
    /// Of writing it.
    fn forget(&self, claim: &Self::Claim) -> Result<()>;

    /// Puts the binary in its place, if it runs there; to keep it, not in that of another version
    /// that runs. Whether it was not there before.
    ///
    /// # Errors
    /// It cannot be written, or does not run.
    fn place(&self, claim: &Self::Claim) -> Result<bool>;

    /// # Errors
    /// The plugin does not take that entry.
    fn check(&self, entry: &Value) -> Result<()>;

    /// # Errors
    /// As [`Change::make`].
    fn make(&self, change: &Change) -> Result<Option<Replaced>>;

    /// Takes every connection off the short way. What is left of them.
    ///
    /// # Errors
    /// The kernel refuses.
    fn drain(&self, patience: Patience) -> Result<Left>;

    /// # Errors
    /// Of removing it; they name what stays. That it is not there is none.
    fn remove(&self, part: Part) -> Result<()>;

    fn path_of(&self, part: Part) -> PathBuf;

    fn is_there(&self, part: Part) -> bool;

    fn rest(&self, pause: Duration);

    fn now(&self) -> Instant;
}

/// The node that this process runs on.
#[derive(Clone)]
pub struct Host {
    pub cni: Cni,
    pub datapath: Datapath,
    /// The plugin to install.
    pub source: PathBuf,
}

impl Host {
    fn locked(&self, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let _lock = Lock::take(&self.datapath.lock_file, PATIENCE).map_err(io::Error::other)?;
        act()
    }
}

impl Files for Host {
    fn list(&self, folder: &Path) -> Result<Vec<Found>> {
        Disk.list(folder)
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        Disk.read(path)
    }

    fn has(&self, path: &Path) -> bool {
        Disk.has(path)
    }
}

impl World for Host {
    type Claim = Claim;

    fn claim(&self, purpose: Purpose) -> Result<Claimed<Claim>> {
        Claim::stake(&self.datapath.lock_file, &self.cni, purpose)
    }

    fn give_up(&self, claim: Claim) -> Result<()> {
        claim.give_up()
    }

    fn load(&self, wanted: &Wanted) -> Result<(), Refusal> {
        // What programs are attached to.
        cgroup::pods_root()?;
        Cgroup::root()?;
        let _lock = Lock::take(&self.datapath.lock_file, PATIENCE)?;
        let settings = settings::of_node(&self.cni.net_dir, Some(wanted));
        shim::datapath::Datapath::open_or_load(&self.datapath.pin_path, settings).map(drop)
    }

    fn others(&self, claim: &Claim) -> Result<BTreeSet<PathBuf>> {
        let mut dirs = claim.net_dirs()?;
        dirs.extend(net_dirs::read(&self.cni.bin_dir)?);
        dirs.remove(&claim::absolute(&self.cni.net_dir)?);
        Ok(dirs)
    }

    fn remember(&self, claim: &Claim) -> Result<()> {
        // What cannot be read is written anew.
        let mut dirs = net_dirs::read(&self.cni.bin_dir).unwrap_or_default();
        dirs.extend(claim.net_dirs().unwrap_or_default());
        dirs.insert(claim::absolute(&self.cni.net_dir)?);
        net_dirs::write(&self.cni.bin_dir, &dirs)
    }

    fn forget(&self, _: &Claim) -> Result<()> {
        let mut dirs = net_dirs::read(&self.cni.bin_dir)?;
        match dirs.remove(&claim::absolute(&self.cni.net_dir)?) {
            true => net_dirs::write(&self.cni.bin_dir, &dirs),
            false => Ok(()),
        }
    }

    fn place(&self, claim: &Claim) -> Result<bool> {
        let own =
            binary::fingerprint(&self.source).with_context(|| self.source.display().to_string())?;
        let target = self.path_of(Part::Binary);
        if claim.is_anothers(&own) && binary::versions(&target).is_ok() {
            log::info!("another version of shunt was installed than this one; it is kept");
            return Ok(false);
        }
        let is_foreign = !claim.has_binary()
            && binary::is_anothers(&target).with_context(|| target.display().to_string())?;
        ensure!(!is_foreign, "{} is not shunt's: move it away", target.display());
        let placed = binary::place(&self.source, &own, &self.cni.bin_dir)?;
        claim.note(own, &self.cni.bin_dir)?;
        Ok(placed)
    }

    fn check(&self, entry: &Value) -> Result<()> {
        binary::check_entry(&self.source, entry)
    }

    fn make(&self, change: &Change) -> Result<Option<Replaced>> {
        change.make()
    }

    fn drain(&self, patience: Patience) -> Result<Left> {
        drain::all(&self.datapath.pin_path, patience, |_| ())
    }

    fn remove(&self, part: Part) -> Result<()> {
        let path = self.path_of(part);
        let removed = match part {
            Part::Unfinished => {
                return remove_unfinished(&self.cni.net_dir)
                    .and(remove_unfinished(&self.cni.bin_dir));
            }
            Part::Binary if binary::is_anothers(&path).unwrap_or(false) => Err(io::Error::other(
                "it is another's, or not whole: remove it if it is not wanted",
            )),
            Part::Binary | Part::NetDirs => fs::remove_file(&path),
            // No plugin is then at work with them.
            Part::Pins => self.locked(|| shim::pins::remove(&path)),
            Part::LockFile => self.locked(|| fs::remove_file(&path)),
        };
        match removed {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.with_context(|| path.display().to_string()),
        }
    }

    fn path_of(&self, part: Part) -> PathBuf {
        match part {
            Part::Binary => self.cni.bin_dir.join(SHUNT),
            Part::NetDirs => net_dirs::path(&self.cni.bin_dir),
            Part::Unfinished => self.cni.bin_dir.clone(),
            Part::Pins => self.datapath.pin_path.clone(),
            Part::LockFile => self.datapath.lock_file.clone(),
        }
    }

    fn is_there(&self, part: Part) -> bool {
        self.path_of(part).symlink_metadata().is_ok()
    }

    fn rest(&self, pause: Duration) {
        sleep(pause);
    }

    fn now(&self) -> Instant {
        Instant::now()
    }
}
