//! A node as a value.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use crate::{
    conflist::names_shunt,
    net_d::{EXTENSIONS, has_extension},
};

/// Of two runtimes that have the plugins in common.
pub const NET_D: &str = "/net.d";
pub const NET_E: &str = "/net.e";

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
    /// The claim's file, for which folders; none: shunt is leaving.
    pub claim: Option<BTreeSet<&'static str>>,
    /// The file beside the binary.
    pub net_dirs: BTreeSet<&'static str>,
    /// The process that has it.
    pub holder: Option<usize>,
    /// Others that have read a list and not yet written it back.
    pub reading: BTreeSet<usize>,
}

impl Node {
    /// Shunt is to be here.
    pub fn is_claimed(&self) -> bool {
        self.claim.as_ref().is_some_and(|dirs| !dirs.is_empty())
    }

    /// A list that a runtime may read now and cannot run.
    pub fn broken(&self) -> Option<&Path> {
        let read = self.files.iter().filter(|(path, _)| {
            let is_net =
                |dir: Option<&Path>| [NET_D, NET_E].iter().any(|it| dir == Some(Path::new(it)));
            is_net(path.parent()) && has_extension(path, &EXTENSIONS)
                || is_net(path.parent().and_then(Path::parent))
        });
        let mut naming = read.filter(|(_, text)| names_shunt(text).unwrap_or(false));
        naming.next().filter(|_| self.plugin != Plugin::Runs).map(|(path, _)| path.as_path())
    }
}
