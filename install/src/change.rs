//! A change of one file: shown as a diff, or made so that a reader sees the old or the new.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Seek as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use nix::libc;

use crate::attributes::Attributes;

/// Ends the name of a file that is being written: no runtime reads it, and `uninstall` removes it.
const UNFINISHED: &str = ".shunt-new";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub path: PathBuf,
    /// `None`: there is no such file.
    pub before: Option<String>,
    /// `None`: there is to be none.
    pub after: Option<String>,
    /// Whose mode and owner a new file gets.
    pub like: PathBuf,
}

impl Change {
    /// In the format of `diff -u`.
    pub fn diff(&self) -> String {
        let (before, after) = (self.before.as_deref(), self.after.as_deref());
        let name = |text: Option<_>| match text {
            Some(_) => self.path.display().to_string(),
            None => "/dev/null".into(),
        };
        let diff = similar::TextDiff::from_lines(before.unwrap_or(""), after.unwrap_or(""));
        diff.unified_diff().header(&name(before), &name(after)).to_string()
    }

    /// Gives what lay there before, as whoever has it open may still write into it.
    ///
    /// # Errors
    /// It is not as `before` says any more, or cannot be written; it is then as it was.
    pub fn make(&self) -> Result<Option<Replaced>> {
        self.try_make().map_err(|error| whose(error, &self.path))
    }

    fn try_make(&self) -> Result<Option<Replaced>> {
        // What a link points to changes, not the link.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let replaced = match &self.before {
            Some(before) => Some(Replaced {
                path: self.path.clone(),
                old: File::open(&path)?,
                text: before.clone(),
            }),
            None => None,
        };
        let last_look = || {
            let unchanged = match &replaced {
                Some(replaced) => !replaced.was_written()?,
                None => !path.exists(),
            };
            ensure!(unchanged, "somebody else is writing it");
            Ok(())
        };
        let Some(after) = &self.after else {
            last_look()?;
            fs::remove_file(&self.path)?;
            return Ok(None);
        };
        let like = File::open(&self.like).with_context(|| self.like.display().to_string())?;
        replace(&path, after.as_bytes(), &Attributes::of(&like)?, last_look)?;
        Ok(replaced)
    }
}

/// Whose it is, for whoever may not write there.
pub fn whose(error: anyhow::Error, path: &Path) -> anyhow::Error {
    let errno = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    let name = path.display();
    match errno {
        Some(libc::EACCES | libc::EPERM) => {
            let owner = |path: &Path| {
                let file = fs::metadata(path).ok()?;
                let mode = file.mode() & 0o7777;
                Some(format!("{} is user {}'s with mode {mode:o}", path.display(), file.uid()))
            };
            let places = [path.parent(), Some(path)].into_iter().flatten();
            let owners: Vec<_> = places.filter_map(owner).collect();
            error.context(format!(
                "{}; to write there takes CAP_DAC_OVERRIDE, and to keep the owner CAP_CHOWN",
                owners.join(", ")
            ))
        }
        Some(libc::EROFS) => error.context(format!("{name} is on a read-only file system")),
        _ => error.context(name.to_string()),
    }
}

/// Writes a file beside the one at `path` and puts it in its place. `last_look` may still say no.
///
/// # Errors
/// Of any step; the file at `path` is then as it was.
pub fn replace(
    path: &Path,
    bytes: &[u8],
    attributes: &Attributes,
    last_look: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let folder = path.parent().context("it is no file")?;
    let mut name = path.file_name().context("it is no file")?.to_owned();
    name.push(UNFINISHED);
    let unfinished = folder.join(name);
    let write = || -> Result<()> {
        // What a killed process left may be another user's by now, or a link.
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).read(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(bytes)?;
        attributes.give(&file)?;
        file.sync_all()?;
        last_look()?;
        fs::rename(&unfinished, path)?;
        Ok(File::open(folder)?.sync_all()?)
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written
}

/// Removes what a killed process left.
///
/// # Errors
/// Of reading the folder or removing. That there is no folder is none.
pub fn remove_unfinished(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().ends_with(UNFINISHED.as_bytes()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A file that has lost its name to a newer one. Who truncates and copies may have opened it just
/// before, and then writes where nobody reads.
pub struct Replaced {
    pub path: PathBuf,
    old: File,
    text: String,
}

impl Replaced {
    /// Whether it is not as it was read any more.
    ///
    /// # Errors
    /// Of reading it.
    pub fn was_written(&self) -> io::Result<bool> {
        Ok(self.read()? != self.text.as_bytes())
    }

    /// # Errors
    /// Of reading it.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        (&self.old).rewind()?;
        (&self.old).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &Path, before: &str, after: &str) -> Change {
        let [before, after] = [before, after].map(|text| Some(text.to_owned()));
        Change { path: path.into(), before, after, like: path.into() }
    }

    #[test]
    fn what_a_copy_writes_after_it_was_replaced_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("10-primary.conflist");
        fs::write(&path, "old").unwrap();
        let mut copy = OpenOptions::new().write(true).open(&path).unwrap();
        let replaced = change(&path, "old", "ours").make().unwrap().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "ours");
        assert!(!replaced.was_written().unwrap());
        copy.write_all(b"newer").unwrap();
        assert!(replaced.was_written().unwrap());
        assert_eq!(replaced.read().unwrap(), b"newer");
    }

    #[test]
    fn what_was_written_since_it_was_read_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("10-primary.conflist");
        fs::write(&path, "newer").unwrap();
        assert!(change(&path, "old", "ours").make().is_err());
        assert!(Change { before: None, ..change(&path, "", "ours") }.make().is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "newer");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing half written is left");
    }

    #[test]
    fn a_link_stays_one() {
        let dir = tempfile::tempdir().unwrap();
        let [file, link] = ["file", "link"].map(|name| dir.path().join(name));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        change(&link, "old", "ours").make().unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "ours");
    }
}
