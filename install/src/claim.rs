//! That shunt is to be on this node: a file, locked by whoever changes something of it, from its
//! first look to its last change. It names for which folders of configurations shunt was installed,
//! by which pod, and which binary. `uninstall` takes its folder out, and a `watch` that still runs
//! there then leaves it alone; the last one takes the file away.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    env,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Seek as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use serde::{Deserialize, Serialize};

/// In a pod, its uid: the manifest sets it.
const POD: &str = "SHUNT_POD";
/// What `uninstall` of 0.1.0 wrote. `install` wrote its pod's uid.
const LEAVING: &[u8] = b"uninstall\n";

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    leaving: bool,
    pod: String,
    /// None: it was installed by 0.1.0, which did not tell.
    net_dirs: BTreeSet<PathBuf>,
    /// Fingerprint of the binary that was installed last.
    binary: Option<String>,
}

/// Released on drop.
pub struct Claim {
    path: PathBuf,
    purpose: Purpose,
    held: Flock<File>,
    record: RefCell<Record>,
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
    pub fn stake(lock_file: &Path, net_dir: &Path, purpose: Purpose) -> Result<Claimed<Self>> {
        let path = path(lock_file);
        // Not where it leads, which may change.
        let net_dir = std::path::absolute(net_dir)?;
        loop {
            let staked = lock(&path, &net_dir, purpose);
            if let Some(staked) = staked.with_context(|| path.display().to_string())? {
                return Ok(staked);
            }
        }
    }

    /// Other folders that it was installed for, and may have left since.
    pub fn others(&self) -> Vec<PathBuf> {
        self.record.borrow().net_dirs.iter().cloned().collect()
    }

    /// Whether another binary than this one was installed last, by somebody else.
    pub fn is_anothers(&self, binary: &str) -> bool {
        let last = &self.record.borrow().binary;
        self.purpose == Purpose::Keep && last.as_ref().is_some_and(|last| last != binary)
    }

    /// Whether a binary was installed with it.
    pub fn has_binary(&self) -> bool {
        self.record.borrow().binary.is_some()
    }

    /// That this binary is in its place, unless that was another's.
    ///
    /// # Errors
    /// Of writing the file.
    pub fn note(&self, binary: String) -> Result<()> {
        if self.is_anothers(&binary) {
            return Ok(());
        }
        let record = Record { binary: Some(binary), ..self.record.borrow().clone() };
        self.write(record).with_context(|| self.path.display().to_string())
    }

    /// Shunt is not to be on this node any more.
    ///
    /// # Errors
    /// Of removing the file.
    pub fn give_up(self) -> Result<()> {
        fs::remove_file(&self.path).with_context(|| self.path.display().to_string())
    }

    fn write(&self, record: Record) -> io::Result<()> {
        if record != *self.record.borrow() {
            self.held.set_len(0)?;
            (&*self.held).rewind()?;
            (&*self.held).write_all(&serde_json::to_vec(&record)?)?;
            self.record.replace(record);
        }
        Ok(())
    }
}

impl Record {
    fn read(mut file: &File) -> io::Result<Self> {
        let mut said = Vec::new();
        file.read_to_end(&mut said)?;
        Ok(serde_json::from_slice(&said).unwrap_or_else(|_| Self {
            leaving: said == LEAVING,
            pod: String::from_utf8(said).unwrap_or_default(),
            ..Self::default()
        }))
    }
}

/// None: its last holder has taken it away meanwhile.
fn lock(path: &Path, net_dir: &Path, purpose: Purpose) -> Result<Option<Claimed<Claim>>> {
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
    let pod = env::var(POD).unwrap_or_default();
    let said = Record::read(&held)?;
    let mut says = said.clone();
    let is_here = !said.leaving && (said.net_dirs.is_empty() || said.net_dirs.contains(net_dir));
    match purpose {
        Purpose::Keep | Purpose::Resume if !is_here => return Ok(Some(Claimed::Unwanted)),
        Purpose::Keep | Purpose::Resume => {}
        Purpose::Install => {
            (says.leaving, says.pod) = (false, pod);
            says.net_dirs.insert(net_dir.to_owned());
        }
        Purpose::Leave => {
            if !said.leaving && ![&said.pod, &pod].iter().any(|it| it.is_empty()) && said.pod != pod
            {
                return Ok(Some(Claimed::Unwanted));
            }
            says.net_dirs.remove(net_dir);
            says.leaving = says.net_dirs.is_empty();
        }
    }
    let claim = Claim { path: path.to_owned(), purpose, held, record: said.into() };
    claim.write(says)?;
    Ok(Some(Claimed::Held(claim)))
}
