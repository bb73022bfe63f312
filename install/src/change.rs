//! A change of one file: shown as a diff, or made so that a reader sees the old or the new.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    attributes::Attributes,
    replace::{self, Before, replace},
};

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
        self.try_make().map_err(|error| replace::whose(error, &self.path))
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
        let look = || {
            let was_written = replaced.as_ref().map_or(Ok(false), Replaced::was_written)?;
            ensure!(!was_written, replace::ANOTHER);
            Ok(())
        };
        let before = match &replaced {
            Some(replaced) => Before::This(replaced.old.metadata()?),
            None => Before::Nothing,
        };
        let Some(after) = &self.after else {
            look()?;
            before.look(&path)?;
            fs::remove_file(&self.path)?;
            return Ok(None);
        };
        let like = File::open(&self.like).with_context(|| self.like.display().to_string())?;
        replace(&path, after.as_bytes(), &Attributes::of(&like)?, before, |_| look())?;
        Ok(replaced)
    }
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
    use std::{fs::OpenOptions, io::Write as _, path::Path};

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
