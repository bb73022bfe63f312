//! The folder where a runtime finds its network, and what is to change there.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, ensure};
use serde_json::Value;

use crate::{
    bin_dirs,
    change::Change,
    conflist::{self, Conf},
    entry::Wanted,
    libcni,
    world::{Files, Kind},
};

/// What runtimes look at, first by name, whatever the extension (go-cni's loadFromConfDir).
pub const EXTENSIONS: [&str; 3] = ["conf", "conflist", "json"];
/// Why there is nothing to be done yet.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    #[error("{} has no network configuration yet", .0.display())]
    NoPrimary(PathBuf),
    #[error("{} is left as it is: {why:#}", path.display())]
    Unusable { path: PathBuf, why: anyhow::Error },
    #[error("{0:#}")]
    Io(anyhow::Error),
}

/// How this node reads its folder.
pub struct Reader<'a> {
    pub net_dir: &'a Path,
    /// Where it looks for plugins.
    pub bin_dir: &'a Path,
    /// The versions of CNI that shunt knows: a list of another would fail its pods.
    pub spoken: &'a [String],
    /// Whether what cannot be parsed is passed over, as CRI-O does. containerd then has no network.
    pub skips: bool,
}

/// What pods' networks are made from.
#[derive(Debug)]
pub struct Plan {
    /// The file that a runtime uses.
    pub primary: PathBuf,
    pub changes: Vec<Change>,
    /// Shunt's, as it will be.
    pub entry: Value,
    /// Keys of an entry that was there before, which are changed or gone.
    pub lost: Vec<String>,
    /// Files that the runtime passes over, and why.
    pub skipped: Vec<String>,
}

/// Text of a file that is a configuration. None: it is gone.
pub fn read(files: &impl Files, path: &Path) -> Result<Option<String>, Unready> {
    let text = || {
        let Some(bytes) = files.read(path)? else { return Ok(None) };
        ensure!(!bytes.trim_ascii().is_empty(), "it is empty");
        let text = String::from_utf8(bytes)?;
        Conf::parse(&text)?;
        libcni::loads(&text, has_extension(path, &["conflist"]))?;
        // What could not be taken back.
        let without = conflist::without_entry(&text)?;
        let names = conflist::names_shunt(&without)? && !conflist::is_shunt(&text);
        ensure!(!names, "it names shunt, and not as a plugin of its own");
        Ok(Some(text))
    };
    text().map_err(|why| Unready::Unusable { path: path.to_owned(), why })
}

/// Files with one of these extensions, by name as bytes.
pub fn files(files: &impl Files, folder: &Path, kinds: &[&str]) -> Result<Vec<PathBuf>, Unready> {
    let found = files.list(folder).map_err(Unready::Io)?.into_iter();
    let found = found.filter(|found| found.kind == Kind::File && has_extension(&found.path, kinds));
    Ok(found.map(|found| found.path).collect())
}

pub fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    // As Go has it: a name may be nothing else.
    let name = path.file_name().map_or(&[][..], |name| name.as_encoded_bytes());
    let dot = name.iter().rposition(|byte| *byte == b'.');
    dot.is_some_and(|dot| extensions.iter().any(|it| it.as_bytes() == &name[dot + 1..]))
}

pub fn change(
    path: &Path,
    before: Option<String>,
    after: Option<String>,
    like: &Path,
) -> Option<Change> {
    let (path, like) = (path.to_owned(), like.to_owned());
    (before != after).then_some(Change { path, before, after, like })
}

impl Reader<'_> {
    /// The file that the runtime uses, with its text; those behind it; and those that it passes over.
    ///
    /// # Errors
    /// [`Unready`]: there is none, or the runtime cannot use it.
    fn primary(
        &self,
        files: &impl Files,
        all: Vec<PathBuf>,
    ) -> Result<(PathBuf, String, Vec<PathBuf>, Vec<String>), Unready> {
        let mut skipped = Vec::new();
        let mut others = all.into_iter();
        while let Some(path) = others.next() {
            match read(files, &path) {
                Ok(Some(text)) => return Ok((path, text, others.collect(), skipped)),
                Ok(None) => {}
                Err(unready) if self.skips => skipped.push(unready.to_string()),
                Err(unready) => return Err(unready),
            }
        }
        Err(Unready::NoPrimary(self.net_dir.to_owned()))
    }

    /// What puts the entry where the node's pods get their network.
    ///
    /// # Errors
    /// [`Unready`]: nothing is to be touched now.
    pub fn install(&self, files: &impl Files, wanted: &Wanted) -> Result<Plan, Unready> {
        let all = self::files(files, self.net_dir, &EXTENSIONS)?;
        let (derived, all) = derived::apart(files, all)?;
        let (primary, before, others, skipped) = self.primary(files, all)?;
        let unusable = |why| Unready::Unusable { path: primary.clone(), why };
        let text = derived::followed(files, &primary, &before, &others).map_err(unusable)?;
        let conf = Conf::parse(&text).map_err(unusable)?;
        let mut edit = Edit { reader: self, wanted, entry: None, lost: Vec::new() };
        let mut changes = Vec::new();
        let mut own_list = None;
        if has_extension(&primary, &["conflist"]) {
            changes.extend(edit.list(files, &primary, before, &text)?);
        } else if conf.is_multus() {
            let source = multus::source(files, &others, &conf).map_err(unusable)?;
            if conf.delegate().is_some() {
                let add = |list: &str| edit.with_entry(list, None);
                let after = conflist::in_delegate(&text, add).map_err(unusable)?;
                changes.extend(change(&primary, Some(before), Some(after), &primary));
            }
            if let Some((source, text)) = source {
                changes.extend(edit.list(files, &source, text.clone(), &text)?);
            }
        } else {
            let path = derived::of(&primary);
            let before = read(files, &path).ok().flatten();
            // What is there of an entry is in the list that was made before.
            let entries = before.as_ref().and_then(|list| conflist::entries(list).ok());
            let entry = edit.entry(entries.and_then(|mut entries| entries.pop()).as_ref());
            let list = conflist::list_of(&text).and_then(|list| {
                self.speaks(&Conf::parse(&list)?)?;
                conflist::with_entry(&list, &entry)
            });
            changes.extend(change(&path, before, Some(list.map_err(unusable)?), &primary));
            own_list = Some(path);
        }
        // Made from a conf that is gone, it would hide what its network is now.
        for path in derived.into_iter().filter(|path| own_list.as_ref() != Some(path)) {
            if let Some(before) = read(files, &path)? {
                changes.extend(change(&path, Some(before), None, &path));
            }
        }
        let Edit { entry, lost, .. } = edit;
        let entry = entry.ok_or_else(|| unusable(anyhow!("it has no plugin")))?;
        libcni::check(entry.as_object().unwrap_or(&Default::default())).map_err(unusable)?;
        // A runtime that looks for plugins elsewhere would not find shunt, and fail every pod.
        if let Some(first) = conf.first_plugin().filter(|it| !files.has(&self.bin_dir.join(it))) {
            return Err(unusable(anyhow!(
                "its `{first}` is not in {}; {}",
                self.bin_dir.display(),
                bin_dirs::advice(files, &first)
            )));
        }
        Ok(Plan { primary, changes, entry, lost, skipped })
    }

    fn speaks(&self, list: &Conf) -> Result<()> {
        let version = list.newest_version();
        let known = self.spoken.contains(&version);
        ensure!(known, "its cniVersion is {version:?}, which shunt does not speak");
        Ok(())
    }
}

/// The wanted entry on its way into a list, and what it became there.
struct Edit<'a> {
    reader: &'a Reader<'a>,
    wanted: &'a Wanted,
    entry: Option<Value>,
    lost: Vec<String>,
}

impl Edit<'_> {
    fn entry(&mut self, old: Option<&Value>) -> Value {
        let (entry, lost) = self.wanted.beside(old);
        self.lost.extend(lost);
        self.entry.insert(entry).clone()
    }

    /// `elsewhere` is an entry that moves into it.
    fn with_entry(&mut self, list: &str, elsewhere: Option<&Value>) -> Result<String> {
        self.reader.speaks(&Conf::parse(list)?)?;
        let entry = self.entry(conflist::entries(list)?.last().or(elsewhere));
        conflist::with_entry(list, &entry)
    }

    /// In the list itself, or behind the plugins in its folder, where there are such.
    fn list(
        &mut self,
        all: &impl Files,
        path: &Path,
        before: String,
        text: &str,
    ) -> Result<Vec<Change>, Unready> {
        let unusable = |why| Unready::Unusable { path: path.to_owned(), why };
        let conf = Conf::parse(text).map_err(unusable)?;
        let (mut own, others) = drop_in::all(all, self.reader.net_dir, &conf)?;
        let parsed = own.first().and_then(|(_, text)| conflist::value(text).ok());
        let Some((first, last)) = others.first().zip(others.last()) else {
            let list = self.with_entry(text, parsed.as_ref()).map_err(unusable)?;
            let list = change(path, Some(before), Some(list), path);
            let gone =
                own.into_iter().filter_map(|(file, text)| change(&file, Some(text), None, &file));
            return Ok(list.into_iter().chain(gone).collect());
        };
        self.reader.speaks(&conf).map_err(unusable)?;
        let inlined = conflist::entries(text).map_err(unusable)?.pop();
        let list = conflist::without_entry(text).map_err(unusable)?;
        // What comes first there is the network's first plugin, if the list itself has none.
        let is_first =
            !Conf::parse(&list).is_ok_and(|it| it.is_list() && it.first_plugin().is_some());
        let kept = own.iter().position(|(file, _)| !is_first || file > first);
        let (file, there) = match kept.map(|at| own.remove(at)) {
            Some((file, text)) => (file, Some(text)),
            None => (drop_in::behind(last), None),
        };
        let entry = self.entry(parsed.as_ref().or(inlined.as_ref()));
        let is_it = |text: &String| conflist::value(text).is_ok_and(|it| it == entry);
        let after = there.clone().filter(is_it).or_else(|| Some(conflist::file_of(&entry)));
        let changes =
            [change(&file, there, after, path), change(path, Some(before), Some(list), path)];
        let twice =
            own.into_iter().filter_map(|(file, text)| change(&file, Some(text), None, &file));
        Ok(changes.into_iter().flatten().chain(twice).collect())
    }
}

/// Shunt's entry in the first list that has one.
pub struct Own {
    pub list: PathBuf,
    pub entry: Value,
    /// Of the list: what a runtime adds to the entry.
    pub name: String,
    pub version: String,
}

/// # Errors
/// The folder cannot be read, or no list has it.
pub fn entry(all: &impl Files, dir: &Path) -> Result<Own> {
    for path in files(all, dir, &EXTENSIONS)? {
        // What cannot be read a runtime does not use either.
        let Ok(Some(text)) = read(all, &path) else { continue };
        let conf = Conf::parse(&text)?;
        let mut entries = conflist::entries(&text)?;
        let (own, _) = drop_in::all(all, dir, &conf).unwrap_or_default();
        entries.extend(own.iter().filter_map(|(_, text)| conflist::value(text).ok()));
        if let Some(entry) = entries.into_iter().next() {
            let (version, name) = (conf.newest_version(), conf.name);
            return Ok(Own { list: path, entry, name, version });
        }
    }
    Err(anyhow!("no list in {} has an entry of shunt", dir.display()))
}

pub mod derived;
mod drop_in;
mod multus;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
