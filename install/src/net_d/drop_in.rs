//! Plugins in a list's own folder.

use std::path::{Path, PathBuf};

use super::{Unready, files, read};
use crate::{
    conflist::{self, Conf},
    world::Files,
};

/// Shunt's file in a list's own folder, where libcni (1.3 and later) reads `.conf` by name. Where another
/// would come behind it, it has that one's name before its own.
pub const DROP_IN: &str = "zz-shunt.conf";

/// A file of shunt's, and its text.
type Own = (PathBuf, String);

/// The name that comes behind that file's.
pub fn behind(last: &Path) -> PathBuf {
    let plain = last.with_file_name(DROP_IN);
    if *last < plain {
        return plain;
    }
    let mut name = last.file_name().unwrap_or_default().to_owned();
    name.push("-shunt.conf");
    last.with_file_name(name)
}

/// Shunt's files in a list's own folder, and those of others, each by name.
pub fn all(all: &impl Files, dir: &Path, list: &Conf) -> Result<(Vec<Own>, Vec<PathBuf>), Unready> {
    let is_name = !list.name.is_empty() && !list.name.contains('/') && !list.name.starts_with('.');
    let (mut own, mut others) = (Vec::new(), Vec::new());
    if !is_name || !list.reads_folder() {
        return Ok((own, others));
    }
    for path in files(all, &dir.join(&list.name), &["conf"])? {
        match read(all, &path)? {
            Some(text) if conflist::is_shunt(&text) => own.push((path, text)),
            Some(_) => others.push(path),
            None => {}
        }
    }
    Ok((own, others))
}
