//! That shunt is to be on this node: a file, locked by whoever changes something of it, from its
//! first look to its last change. It names for which folders of configurations shunt was installed,
//! by which pod, and which binary. `uninstall` takes its folder out, and a `watch` that still runs
//! there then leaves it alone; the last one takes the file away.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    env,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    libc,
};
use serde::{Deserialize, Serialize};

use crate::{bin_dirs, binary, conflist::SHUNT, disk::Disk, net_dirs, paths::Cni};

/// In a pod, its uid: the manifest sets it.
pub const POD: &str = "SHUNT_POD";
/// A plugin that every runtime has.
const LOOPBACK: &str = "loopback";
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
    /// Where that is.
    bin_dir: Option<PathBuf>,
}

/// Released on drop.
pub struct Claim {
    path: PathBuf,
    purpose: Purpose,
    held: Flock<File>,
    /// The folder of the binary, which those with other lock files may have in common.
    _bin_dir: Option<Flock<File>>,
    record: RefCell<Record>,
    /// It was there, and could not be parsed.
    is_doubtful: bool,
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
    /// Of making or locking the file, or it is a link or another's.
    pub fn stake(lock_file: &Path, cni: &Cni, purpose: Purpose) -> Result<Claimed<Self>> {
        let path = path(lock_file);
        loop {
            let staked = lock(&path, cni, purpose);
            if let Some(staked) = staked.with_context(|| path.display().to_string())? {
                return Ok(staked);
            }
        }
    }

    /// The folders that it was installed for, and may have left since.
    ///
    /// # Errors
    /// The file was there, and could not be parsed.
    pub fn net_dirs(&self) -> Result<BTreeSet<PathBuf>> {
        ensure!(!self.is_doubtful, "{} cannot be parsed", self.path.display());
        Ok(self.record.borrow().net_dirs.clone())
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

    /// That this binary is in its place, in that folder, unless that was another's.
    ///
    /// # Errors
    /// Of writing the file.
    pub fn note(&self, binary: String, bin_dir: &Path) -> Result<()> {
        if self.is_anothers(&binary) {
            return Ok(());
        }
        let bin_dir = absolute(bin_dir)?;
        let before = self.record.borrow().clone();
        let record = Record { binary: Some(binary), bin_dir: Some(bin_dir), ..before };
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
            let mut text = serde_json::to_vec(&record)?;
            let (length, before) = (text.len(), self.held.metadata()?.len() as usize);
            // Whole at every moment, also for who is killed here: blanks say nothing.
            text.resize(length.max(before), b' ');
            self.held.write_all_at(&text, 0)?;
            self.held.set_len(length as u64)?;
            self.record.replace(record);
        }
        Ok(())
    }
}

impl Record {
    fn read(mut file: &File) -> io::Result<Option<Self>> {
        let mut said = Vec::new();
        file.read_to_end(&mut said)?;
        Ok(Self::parse(&said))
    }

    /// 0.1.0 wrote no JSON, and by hand nothing at all.
    fn parse(said: &[u8]) -> Option<Self> {
        let is_uid = said.iter().all(|it| it.is_ascii_hexdigit() || *it == b'-');
        match serde_json::from_slice(said) {
            Ok(record) => Some(record),
            Err(_) if said == LEAVING => Some(Self { leaving: true, ..Self::default() }),
            Err(_) if is_uid => {
                let pod = String::from_utf8_lossy(said).into();
                Some(Self { pod, ..Self::default() })
            }
            Err(_) => None,
        }
    }
}

/// Whether a claim that nobody has to hold tells of a binary that was installed.
pub fn tells_of_binary(lock_file: &Path) -> bool {
    unheld(lock_file).binary.is_some()
}

/// Where a claim that nobody has to hold says that the binary is.
fn bin_dir(lock_file: &Path) -> Option<PathBuf> {
    unheld(lock_file).bin_dir
}

/// The folder where the plugin is, if it is not in this one: as the claim says, or, as that is gone with a reboot, one where
/// runtimes look for plugins.
pub fn elsewhere(lock_file: &Path, own: &Path) -> Option<PathBuf> {
    let plugin = |dir: &Path| dir.join(SHUNT);
    if plugin(own).exists() {
        return None;
    }
    // One with a lock of its own lives beside others.
    let usual = bin_dirs::KNOWN.iter().filter(|_| lock_file == Path::new(shim::paths::LOCK));
    let has_shunts = |dir: &PathBuf| {
        plugin(dir).exists() && binary::is_anothers(&plugin(dir)).is_ok_and(|is| !is)
    };
    let said = bin_dir(lock_file).filter(|dir| plugin(dir).exists());
    said.or_else(|| usual.map(PathBuf::from).find(has_shunts))
}

/// What to do where a folder of plugins is not there.
pub fn advice(lock_file: &Path, own: &Path) -> String {
    match elsewhere(lock_file, own) {
        Some(dir) => format!("the plugin is in {0}: give --bin-dir {0}", dir.display()),
        None => bin_dirs::advice(&Disk, LOOPBACK),
    }
}

/// Whether this folder has the plugin, and is away.
pub fn is_away(lock_file: &Path, own: &Path) -> bool {
    bin_dir(lock_file).is_some_and(|dir| dir == own) && !own.is_dir()
}

/// What the file says; nothing where it is not there or cannot be parsed.
fn unheld(lock_file: &Path) -> Record {
    let said = fs::read(path(lock_file)).unwrap_or_default();
    Record::parse(&said).unwrap_or_default()
}

/// Not where it leads, which may change.
pub fn absolute(net_dir: &Path) -> io::Result<PathBuf> {
    std::path::absolute(net_dir)
}

/// None: somebody has it, and is not to be waited for.
fn held(file: File, purpose: Purpose) -> io::Result<Option<Flock<File>>> {
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Err((_, Errno::EAGAIN)) if purpose == Purpose::Keep => Ok(None),
        Err((file, Errno::EAGAIN)) => {
            log::info!("another shuntctl is changing this node; waiting for it");
            Ok(Some(Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?))
        }
        held => Ok(Some(held.map_err(|(_, errno)| errno)?)),
    }
}

/// None: its last holder has taken it away meanwhile.
fn lock(path: &Path, cni: &Cni, purpose: Purpose) -> Result<Option<Claimed<Claim>>> {
    let create = matches!(purpose, Purpose::Install | Purpose::Leave);
    let mut options = OpenOptions::new();
    options.create(create).truncate(false).read(true).write(true).custom_flags(libc::O_NOFOLLOW);
    let file = match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound && !create => {
            return Ok(Some(Claimed::Unwanted));
        }
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            bail!("it is a link, which shunt has not made: move it away")
        }
        file => file?,
    };
    ensure!(file.metadata()?.is_file(), "it is no file, and shunt has not made it: move it away");
    let Some(own) = held(file, purpose)? else { return Ok(Some(Claimed::Busy)) };
    let same = fs::metadata(path).is_ok_and(|now| {
        own.metadata().is_ok_and(|own| (own.ino(), own.dev()) == (now.ino(), now.dev()))
    });
    if !same {
        return Ok(None);
    }
    // Not every file system has locks for folders; and what is not there nobody has in common.
    let bin_dir = match File::open(&cni.bin_dir).map(|folder| held(folder, purpose)) {
        Ok(Ok(None)) => return Ok(Some(Claimed::Busy)),
        Ok(Ok(held)) => held,
        _ => None,
    };
    let pod = env::var(POD).unwrap_or_default();
    let said = Record::read(&own)?;
    let is_doubtful = said.is_none();
    let said = said.unwrap_or_default();
    let net_dir = absolute(&cni.net_dir)?;
    let mut says = said.clone();
    let is_here = !said.leaving && (said.net_dirs.is_empty() || said.net_dirs.contains(&net_dir));
    // Of a claim that was lost.
    let known = || net_dirs::read(&cni.bin_dir).unwrap_or_default();
    match purpose {
        Purpose::Keep | Purpose::Resume if !is_here => return Ok(Some(Claimed::Unwanted)),
        Purpose::Keep | Purpose::Resume => {}
        Purpose::Install => {
            (says.leaving, says.pod) = (false, pod);
            says.net_dirs.extend(known());
            says.net_dirs.insert(net_dir);
        }
        // As it is doubtful to the next who looks, too.
        Purpose::Leave if is_doubtful => {}
        Purpose::Leave => {
            if !said.leaving && ![&said.pod, &pod].iter().any(|it| it.is_empty()) && said.pod != pod
            {
                return Ok(Some(Claimed::Unwanted));
            }
            says.net_dirs.extend(known());
            says.net_dirs.remove(&net_dir);
            says.leaving = says.net_dirs.is_empty();
        }
    }
    let (path, record) = (path.to_owned(), said.into());
    let claim = Claim { path, purpose, held: own, _bin_dir: bin_dir, record, is_doubtful };
    claim.write(says)?;
    Ok(Some(Claimed::Held(claim)))
}
