//! One file in the place of another, so that a reader sees the old or the new, and what somebody else
//! put there meanwhile is not lost.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::libc;
use rustix::{
    fs::{CWD, IFlags, RenameFlags, ioctl_getflags, renameat_with},
    io::Errno,
};

use crate::attributes::Attributes;

/// Ends the name of a file that is being written: no runtime reads it, and `uninstall` removes it.
const UNFINISHED: &str = ".shunt-new";
pub const ANOTHER: &str = "somebody else is writing it";
/// Of an error that came too late.
const IN_PLACE: &str = "it is changed, and yet";

/// What is to be in that place until it is replaced.
pub enum Before {
    Anything,
    Nothing,
    This(fs::Metadata),
}

impl Before {
    /// # Errors
    /// Something else is there.
    pub fn look(&self, path: &Path) -> Result<()> {
        let now = fs::metadata(path).ok();
        let is_as_before = match (self, &now) {
            (Self::Anything, _) | (Self::Nothing, None) => true,
            (Self::This(before), Some(now)) => {
                let changed = |it: &fs::Metadata| (it.mtime(), it.mtime_nsec(), it.len());
                is_same(before, now) && changed(before) == changed(now)
            }
            _ => false,
        };
        ensure!(is_as_before, ANOTHER);
        Ok(())
    }

    /// What was put there since the last look is seen as it comes out, and goes back.
    fn rename(&self, new: &Path, path: &Path) -> Result<()> {
        let rename = |how| renameat_with(CWD, new, CWD, path, how);
        let how = match self {
            Self::Anything => return Ok(fs::rename(new, path)?),
            Self::Nothing => RenameFlags::NOREPLACE,
            Self::This(_) => RenameFlags::EXCHANGE,
        };
        let own = fs::metadata(new)?;
        match rename(how) {
            // Not every file system can do that.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(fs::rename(new, path)?),
            Err(Errno::EXIST | Errno::NOENT) => bail!(ANOTHER),
            Err(errno) => Err(io::Error::from(errno).into()),
            Ok(()) => {
                let Self::This(before) = self else { return Ok(()) };
                if is_same(&fs::symlink_metadata(new)?, before) {
                    return fs::remove_file(new).context(IN_PLACE);
                }
                // Until it is the own file that comes out.
                while !fs::symlink_metadata(new).is_ok_and(|it| is_same(&it, &own)) {
                    rename(how).map_err(io::Error::from)?;
                }
                bail!(ANOTHER)
            }
        }
    }
}

fn is_same(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Writes a file beside the one at `path` and puts it in its place. `last_look` is given it as it is
/// and closed, as what is open for writing cannot be run, and may still say no.
///
/// # Errors
/// Of any step; the file at `path` is then as it was, or the error says that it is not.
pub fn replace(
    path: &Path,
    mut bytes: impl io::Read,
    attributes: &Attributes,
    before: Before,
    last_look: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let folder = path.parent().context("it is no file")?;
    let mut name = path.file_name().context("it is no file")?.to_owned();
    name.push(UNFINISHED);
    let unfinished = folder.join(name);
    // What a killed process left may be another user's by now, or a link.
    remove(&unfinished)?;
    let write = || -> Result<()> {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        io::copy(&mut bytes, &mut file)?;
        attributes.give(&file)?;
        file.sync_all()?;
        drop(file);
        last_look(&unfinished)?;
        before.look(path)?;
        before.rename(&unfinished, path)?;
        File::open(folder).and_then(|folder| folder.sync_all()).context(IN_PLACE)
    };
    write().map_err(|error| match remove(&unfinished) {
        Ok(()) => error,
        Err(stays) => error.context(format!("{stays:#}, and stays")),
    })
}

pub fn is_unfinished(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(UNFINISHED.as_bytes())
}

fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| file.display().to_string())
        }
        _ => Ok(()),
    }
}

/// Removes what a killed process left in a folder, and in those right below it. A folder of such a
/// name is somebody else's.
///
/// # Errors
/// Of reading the folder or removing; they name what stays. That there is no folder is none.
pub fn remove_unfinished(folder: &Path) -> Result<()> {
    let all = |folder: &Path| -> Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| folder.display().to_string())?,
        };
        Ok(entries.collect::<io::Result<Vec<_>>>()?.iter().map(fs::DirEntry::path).collect())
    };
    let mut paths = all(folder)?;
    for below in paths.clone().iter().filter(|path| path.is_dir()) {
        paths.extend(all(below)?);
    }
    paths.retain(|path| is_unfinished(path) && !path.is_dir());
    paths.iter().try_for_each(|path| remove(path))
}

/// Why nobody, or who, may write there.
pub fn whose(error: anyhow::Error, path: &Path) -> anyhow::Error {
    let errno = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    let name = path.display();
    let places = || [path.parent(), Some(path)].into_iter().flatten();
    match errno {
        Some(libc::EACCES | libc::EPERM) => {
            let fixed = |place: &&Path| {
                let flags = File::open(place).ok().and_then(|file| ioctl_getflags(file).ok());
                flags.is_some_and(|it| it.intersects(IFlags::IMMUTABLE | IFlags::APPEND))
            };
            if let Some(fixed) = places().find(fixed) {
                let fixed = fixed.display();
                return error.context(format!("{name}: chattr(1) has made {fixed} +i or +a"));
            }
            let owner = |path: &Path| {
                let file = fs::metadata(path).ok()?;
                let mode = file.mode() & 0o7777;
                Some(format!("{} is user {}'s with mode {mode:o}", path.display(), file.uid()))
            };
            let owners: Vec<_> = places().filter_map(owner).collect();
            error.context(format!(
                "{}; to write there takes CAP_DAC_OVERRIDE, and to keep the owner CAP_CHOWN",
                owners.join(", ")
            ))
        }
        Some(libc::EROFS) => error.context(format!("{name} is on a read-only file system")),
        _ => error.context(name.to_string()),
    }
}
