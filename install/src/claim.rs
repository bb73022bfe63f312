//! That shunt is to be on this node: a file, locked by whoever changes something of it, from its
//! first look to its last change. `uninstall` writes into it that shunt is leaving, and a `watch` that
//! still runs then leaves the node alone; in the end it takes the file away. A pod that installs writes
//! into it who it is, and an older one that ends later leaves the node to it.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read as _, Seek as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

const LEAVING: &[u8] = b"uninstall\n";
/// In a pod, its uid: the manifest sets it.
const POD: &str = "SHUNT_POD";

/// Released on drop.
pub struct Claim {
    path: PathBuf,
    _held: Flock<File>,
}

/// For what somebody wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Shunt is to be here from now on. Waits for whoever holds it.
    Install,
    /// To go on with what [`Purpose::Install`] began. Waits for whoever holds it.
    Resume,
    /// To keep what is here. Waits for nobody.
    Keep,
    /// Shunt is to be here no more, unless another pod has come to install it. Waits for whoever
    /// holds it.
    Leave,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Claimed<C> {
    Held(C),
    /// Shunt is not to be here.
    Unwanted,
    /// Somebody is changing something.
    Busy,
}

/// Beside the datapath's lock file, which is the plugin's and may come and go.
pub fn path(lock_file: &Path) -> PathBuf {
    let mut path = lock_file.as_os_str().to_owned();
    path.push(".installed");
    path.into()
}

impl Claim {
    /// # Errors
    /// Of making or locking the file.
    pub fn stake(lock_file: &Path, purpose: Purpose) -> Result<Claimed<Self>> {
        let path = path(lock_file);
        loop {
            let staked = lock(&path, purpose).with_context(|| path.display().to_string())?;
            if let Some(staked) = staked {
                return Ok(staked);
            }
        }
    }

    /// Shunt is not to be on this node any more.
    ///
    /// # Errors
    /// Of removing the file.
    pub fn give_up(self) -> Result<()> {
        fs::remove_file(&self.path).with_context(|| self.path.display().to_string())
    }
}

/// None: its last holder has taken it away meanwhile.
fn lock(path: &Path, purpose: Purpose) -> Result<Option<Claimed<Claim>>> {
    let create = matches!(purpose, Purpose::Install | Purpose::Leave);
    let mut options = OpenOptions::new();
    let file = options.create(create).truncate(false).read(true).write(true).open(path);
    let file = match file {
        Err(error) if error.kind() == ErrorKind::NotFound && !create => {
            return Ok(Some(Claimed::Unwanted));
        }
        file => file?,
    };
    let held = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Err((_, Errno::EAGAIN)) if purpose == Purpose::Keep => return Ok(Some(Claimed::Busy)),
        Err((file, Errno::EAGAIN)) => {
            log::info!("another shuntctl is changing this node; waiting for it");
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?
        }
        held => held.map_err(|(_, errno)| errno)?,
    };
    let same = fs::metadata(path).is_ok_and(|now| {
        held.metadata().is_ok_and(|held| (held.ino(), held.dev()) == (now.ino(), now.dev()))
    });
    if !same {
        return Ok(None);
    }
    let pod = env::var(POD).unwrap_or_default().into_bytes();
    let mut said = Vec::new();
    (&*held).read_to_end(&mut said)?;
    let is_anothers = !pod.is_empty() && ![b"", LEAVING, &pod].contains(&&*said);
    let says = match purpose {
        Purpose::Keep | Purpose::Resume if said == LEAVING => return Ok(Some(Claimed::Unwanted)),
        Purpose::Leave if is_anothers => return Ok(Some(Claimed::Unwanted)),
        Purpose::Keep | Purpose::Resume => &said,
        Purpose::Install => &pod,
        Purpose::Leave => LEAVING,
    };
    if says != said {
        held.set_len(0)?;
        (&*held).rewind()?;
        (&*held).write_all(says)?;
    }
    Ok(Some(Claimed::Held(Claim { path: path.to_owned(), _held: held })))
}
