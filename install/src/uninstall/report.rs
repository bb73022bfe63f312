//! What `uninstall` did, and what stays.

use std::{collections::BTreeSet, fmt, path::PathBuf};

use nix::unistd::geteuid;
use serde::Serialize;

use crate::output::{self, Stopped};

#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub changed: BTreeSet<PathBuf>,
    /// Lists that were made of a conf, and hold plugins of others.
    pub shared: BTreeSet<PathBuf>,
    pub removed: Vec<PathBuf>,
    pub kept: Option<PathBuf>,
    /// Pods that the runtime deletes with the list that they were made with, and files that may tell of such.
    pub needed_by: Vec<String>,
    /// What could not be removed, and why.
    pub stays: Vec<String>,
    pub waits_for: Option<String>,
    /// Another folder that has the plugin.
    pub also_in: Option<PathBuf>,
    /// For whom everything stays.
    pub wanted_by: Option<String>,
    /// After a failure, where it is not what it always is.
    #[serde(skip)]
    pub next: Option<String>,
}

impl Report {
    pub fn stopped(&self, error: anyhow::Error) -> anyhow::Error {
        let changed = self.changed.iter();
        let mend = "mend that and call `shuntctl uninstall` again";
        let next = if geteuid().is_root() { mend.into() } else { output::next(&error, mend) };
        Stopped {
            error,
            done: changed
                .map(|path| format!("{} has no entry of shunt any more", path.display()))
                .collect(),
            stays: "the plugin and the programs stay, and pods go on as before".into(),
            next: self.next.clone().unwrap_or(next),
        }
        .into()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for path in &self.changed {
            writeln!(f, "{} has no entry of shunt any more", path.display())?;
        }
        for path in &self.shared {
            writeln!(f, "{} stays: others have put plugins into it", path.display())?;
        }
        for path in &self.removed {
            writeln!(f, "{} removed", path.display())?;
        }
        for what in &self.stays {
            writeln!(f, "{what}")?;
        }
        if let (Some(name), None) = (&self.wanted_by, &self.waits_for) {
            let is_all = self.changed.is_empty() && self.removed.is_empty();
            let rest = if is_all { "everything" } else { "everything else" };
            return writeln!(f, "{rest} stays, for {name}");
        }
        let is_done = self.waits_for.is_none() && self.kept.is_none() && self.stays.is_empty();
        if let Some(dir) = self.also_in.as_ref().filter(|_| is_done) {
            let dir = dir.display();
            return writeln!(
                f,
                "{dir} has the plugin too: call `shuntctl uninstall --bin-dir {dir}`"
            );
        }
        match (&self.waits_for, &self.kept) {
            (Some(what), _) => writeln!(
                f,
                "{what}: the plugin and the programs stay; call `shuntctl uninstall` again"
            ),
            (None, Some(kept)) if !self.needed_by.is_empty() => writeln!(
                f,
                "{} is kept, as the runtime calls it for pods that were made with it: {}; call `shuntctl uninstall` \
                 again when those are gone",
                kept.display(),
                self.needed_by.join(", ").escape_debug()
            ),
            (None, Some(kept)) => writeln!(
                f,
                "{} is kept; call again without --keep-binary when pods made with it are gone",
                kept.display()
            ),
            (None, None) if !self.stays.is_empty() => {
                writeln!(
                    f,
                    "no list names shunt any more; mend that and call `shuntctl uninstall` again"
                )
            }
            (None, None) if self.changed.is_empty() && self.removed.is_empty() => {
                writeln!(f, "nothing of shunt was here")
            }
            (None, None) => writeln!(f, "nothing of shunt is left"),
        }
    }
}
