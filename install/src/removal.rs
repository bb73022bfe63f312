//! What takes shunt out of every file of a runtime's folder, and where it may still be named: whoever
//! removes the binary looks here first, as a list that names a missing one makes pods undeletable.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use serde_json::Value;

use crate::{
    change::Change,
    conflist::{self, Conf, SHUNT},
    net_d::{
        EXTENSIONS, change,
        derived::{is_derived, is_shared},
        has_extension,
    },
    replace::is_unfinished,
    world::{Files, Found, Kind},
};

/// No folder of configurations is as deep.
const DEEPEST: usize = 8;

/// What takes every entry out.
#[derive(Default)]
pub struct Removal {
    pub changes: Vec<Change>,
    /// The entries that will be gone.
    pub entries: Vec<Value>,
    /// Files that name shunt, or may, and stay as they are; and why.
    pub doubtful: Vec<(PathBuf, anyhow::Error)>,
    /// Something was renamed meanwhile, and may not have been seen: to be looked at again.
    pub is_moving: bool,
}

impl Removal {
    /// # Errors
    /// The folder itself cannot be read.
    pub fn of(files: &impl Files, dir: &Path) -> Result<Self> {
        let mut removal = Self::default();
        let there = files.list(dir)?;
        there.iter().for_each(|found| removal.look_at(files, found.clone(), 0));
        removal.is_moving |= files.list(dir)? != there;
        Ok(removal)
    }

    fn look_at(&mut self, files: &impl Files, found: Found, depth: usize) {
        let Found { path, kind } = found;
        // A list's own folder may be a link; others might lead in circles.
        let is_folder = kind == Kind::Folder || (kind == Kind::LinkedFolder && depth == 0);
        let looked = match kind {
            // Of these no runtime reads any, and all are removed.
            Kind::File if is_unfinished(&path) => Ok(()),
            Kind::File => self.file(files, &path, depth),
            _ if is_folder && depth < DEEPEST => files
                .list(&path)
                .map(|all| all.into_iter().for_each(|it| self.look_at(files, it, depth + 1))),
            _ => Ok(()),
        };
        if let Err(why) = looked {
            self.doubtful.push((path, why));
        }
    }

    fn file(&mut self, files: &impl Files, path: &Path, depth: usize) -> Result<()> {
        let Some(bytes) = files.read(path)? else {
            self.is_moving = true;
            return Ok(());
        };
        if bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        let text = match String::from_utf8(bytes) {
            Ok(text) if conflist::value(&text).is_ok() => text,
            // A runtime may read it once it is whole. Others' files may be of any kind.
            text => {
                let text =
                    text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into());
                let is_read = depth < 2 && has_extension(path, &EXTENSIONS);
                return match is_read || text.contains(&format!("\"{SHUNT}\"")) {
                    true => Err(anyhow!("it cannot be parsed, and may name shunt")),
                    false => Ok(()),
                };
            }
        };
        let (after, why) = match self.without(path, &text) {
            Ok(after) => (after, None),
            Err(why) => (Some(text.clone()), Some(why)),
        };
        let names =
            after.as_ref().is_some_and(|after| conflist::names_shunt(after).unwrap_or(true));
        self.changes.extend(change(path, Some(text), after, path));
        match names {
            true => Err(why.map_or_else(
                || anyhow!("it names shunt, and not as a plugin of its own"),
                |why| why.context("it names shunt"),
            )),
            false => Ok(()),
        }
    }

    /// None: all of it is shunt's.
    fn without(&mut self, path: &Path, text: &str) -> Result<Option<String>> {
        let is_own = conflist::is_shunt(text);
        if is_own {
            self.entries.push(conflist::value(text)?);
        }
        Conf::parse(text)?;
        self.entries.extend(conflist::entries(text)?);
        let after = conflist::without_entry(text)?;
        let is_derived = is_derived(path) && after != text && !is_shared(&after);
        Ok(Some(after).filter(|_| !is_own && !is_derived))
    }
}
