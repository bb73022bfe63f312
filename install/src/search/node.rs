//! A node as a value.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use crate::{
    conflist::names_shunt,
    net_d::{EXTENSIONS, has_extension},
};

pub const NET_D: &str = "/net.d";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Plugin {
    #[default]
    Missing,
    /// Its mode or its bytes are gone.
    Broken,
    Runs,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Node {
    pub files: BTreeMap<PathBuf, String>,
    pub plugin: Plugin,
    /// The version of shunt that lies there, and that was installed last.
    pub version: u8,
    pub installed: Option<u8>,
    /// How often somebody has put another list in the place of one.
    pub renamed: u8,
    pub pins: bool,
    pub lock_file: bool,
    /// The claim's file; true: shunt is leaving.
    pub claim: Option<bool>,
    /// The process that has it.
    pub holder: Option<usize>,
    /// Others that have read a list and not yet written it back.
    pub reading: BTreeSet<usize>,
}

impl Node {
    /// A list that a runtime may read now and cannot run.
    pub fn broken(&self) -> Option<&Path> {
        let read = self.files.iter().filter(|(path, _)| {
            path.parent() == Some(Path::new(NET_D)) && has_extension(path, &EXTENSIONS)
                || path.parent().and_then(Path::parent) == Some(Path::new(NET_D))
        });
        let mut naming = read.filter(|(_, text)| names_shunt(text).unwrap_or(false));
        naming.next().filter(|_| self.plugin != Plugin::Runs).map(|(path, _)| path.as_path())
    }
}
