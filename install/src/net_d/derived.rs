//! The list that shunt makes of a lone conf, by its name before it.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use super::{Unready, read};
use crate::{
    conflist::{self, Conf},
    world::Files,
};

/// Between the conf's name and `.conflist`.
const DERIVED: &str = ".-shunt";

/// By its name.
pub fn is_derived(path: &Path) -> bool {
    path.to_string_lossy().ends_with(&format!("{DERIVED}.conflist"))
}

/// The list's path.
pub fn of(conf: &Path) -> PathBuf {
    let name = conf.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.rsplit_once('.').map_or(&*name, |(stem, _)| stem);
    conf.with_file_name(format!("{stem}{DERIVED}.conflist"))
}

/// Whether others have put plugins of theirs into a list that was made of a conf: it is not only
/// shunt's any more.
pub fn is_shared(derived: &str) -> bool {
    Conf::parse(derived).is_ok_and(|list| list.others().len() > 1)
}

/// Those that are shunt's, and all others.
///
/// # Errors
/// [`Unready`]: one cannot be used, or has no entry of shunt.
pub fn apart(
    files: &impl Files,
    all: Vec<PathBuf>,
) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Unready> {
    let (named, mut others): (Vec<_>, Vec<_>) = all.into_iter().partition(|path| is_derived(path));
    let mut derived = Vec::new();
    for path in named {
        let Some(text) = read(files, &path)? else { continue };
        if is_shared(&text) {
            others.push(path);
        } else if conflist::entries(&text).is_ok_and(|own| !own.is_empty()) {
            derived.push(path);
        } else {
            let why = anyhow!("it has a name as shunt's own lists, and no entry of shunt");
            return Err(Unready::Unusable { path, why });
        }
    }
    others.sort();
    Ok((derived, others))
}

/// The text of a list with its first plugin as it is in the conf that it was made of, if that is one
/// of `others` and can be read.
///
/// # Errors
/// As [`conflist::with_first`].
pub fn followed(files: &impl Files, list: &Path, text: &str, others: &[PathBuf]) -> Result<String> {
    let conf = others.iter().find(|conf| of(conf) == list);
    match conf.map(|conf| read(files, conf)) {
        Some(Ok(Some(conf))) => conflist::with_first(text, &conf),
        _ => Ok(text.to_owned()),
    }
}
