//! `uninstall`: what a runtime reads first, then what it calls, then what the kernel holds.

use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::Serialize;
use serde_json::Value;

use crate::{
    claim::{self, Claimed, Purpose},
    daemon_set,
    drain::Patience,
    output::{Exit, Output, Stopped},
    paths::{Cni, Datapath},
    removal::Removal,
    world::{Host, Part, World},
};

/// Between two looks at what cannot be read: it may be half written.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: u32 = 20;
/// How often an entry is taken out that somebody puts back.
const ROUNDS: u32 = 5;

/// Take shunt off this node. Pods keep running
#[derive(clap::Args)]
pub struct Uninstall {
    #[command(flatten)]
    cni: Cni,
    #[command(flatten)]
    datapath: Datapath,
    /// How long pods that are being made may still call the plugin, and installers write back what
    /// they have read
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    settle: Duration,
    #[command(flatten)]
    patience: Patience,
    /// Leave the binary, for runtimes that call what a pod was made with (CRI-O), until those are gone
    #[arg(long)]
    keep_binary: bool,
    /// In a pod: do nothing as long as there is this DaemonSet in its namespace
    #[arg(long, value_name = "NAME")]
    unless_daemonset: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub struct Report {
    changed: BTreeSet<PathBuf>,
    removed: Vec<PathBuf>,
    kept: Option<PathBuf>,
    /// What could not be removed, and why.
    stays: Vec<String>,
    waits_for: Option<String>,
    /// For whom everything stays.
    wanted_by: Option<String>,
}

/// How shunt is to leave.
pub struct Leave<'a> {
    pub net_dir: &'a Path,
    pub settle: Duration,
    pub patience: Patience,
    pub keep_binary: bool,
}

impl Uninstall {
    pub fn run(self, output: Output) -> Result<Exit> {
        let mut report = Report::default();
        if let Some(name) = &self.unless_daemonset
            && daemon_set::is_wanted(name)?
        {
            report.wanted_by = Some(format!("the DaemonSet {name}"));
            output.print(&report);
            return Ok(Exit::Done);
        }
        let Self { cni, datapath, settle, patience, keep_binary, .. } = self;
        let net_dir = cni.net_dir.clone();
        let leave = Leave { net_dir: &net_dir, settle, patience, keep_binary };
        let host = Host { cni, datapath, source: PathBuf::new() };
        let exit = leave.take_off(&host, &mut report, remove_logs);
        let exit = exit.map_err(|error| report.stopped(error))?;
        output.print(&report);
        Ok(exit)
    }
}

impl Leave<'_> {
    /// The claim on the node is held from the first look to the last removal. `logs` removes what the
    /// entries named, and gives what it removed.
    pub fn take_off<W: World>(
        &self,
        node: &W,
        report: &mut Report,
        logs: impl Fn(&[Value]) -> Result<Vec<PathBuf>>,
    ) -> Result<Exit> {
        let had_lock = node.is_there(Part::LockFile);
        let Claimed::Held(claim) = node.claim(Purpose::Leave)? else {
            report.wanted_by = Some("another pod, which has installed it since".into());
            return Ok(Exit::Done);
        };
        let mut entries = self.leave_lists(node, report)?;
        // They have the binary and the programs in common with what leaves.
        let names = |dir: &PathBuf| {
            let there = Removal::of(node, dir);
            there.map_or(true, |it| !(it.entries.is_empty() && it.doubtful.is_empty()))
        };
        if let Some(dir) = node.others(&claim).into_iter().find(names) {
            report.wanted_by = Some(dir.display().to_string());
            return Ok(Exit::Done);
        }
        let left = node.drain(self.patience)?;
        if left.sockets > 0 {
            report.waits_for = Some(left.to_string());
            return Ok(Exit::TimedOut);
        }
        if !self.change_lists(node, &mut entries)?.is_empty() {
            entries.extend(self.leave_lists(node, report)?);
        }
        // Now, as another call would not know them any more.
        report.removed.extend(logs(&entries)?);
        for part in [Part::Unfinished, Part::Binary, Part::Pins, Part::LockFile] {
            let path = node.path_of(part);
            if part == Part::Binary && self.keep_binary {
                report.kept = Some(path);
                continue;
            }
            if !node.is_there(part) {
                continue;
            }
            match node.remove(part) {
                Err(error) => report.stays.push(format!("{error:#}: it stays")),
                Ok(()) if part == Part::Unfinished => {}
                // It may be one that this call has made.
                Ok(()) if part == Part::LockFile && !had_lock => {}
                Ok(()) => report.removed.push(path),
            }
        }
        node.give_up(claim)?;
        report.stays.extend(elsewhere(node, &entries));
        Ok(if report.stays.is_empty() { Exit::Done } else { Exit::Failed })
    }

    /// From here on no pod needs shunt, or there is an error. Gives the entries that were there.
    fn leave_lists(&self, node: &impl World, report: &mut Report) -> Result<Vec<Value>> {
        let mut entries = Vec::new();
        for _ in 0..ROUNDS {
            let changed = self.change_lists(node, &mut entries)?;
            let is_done = changed.is_empty() && !node.is_there(Part::Binary);
            report.changed.extend(changed);
            if is_done {
                return Ok(entries);
            }
            // Who had read a list before it was changed may write it back.
            node.rest(self.settle);
            if self.change_lists(node, &mut entries)?.is_empty() {
                return Ok(entries);
            }
        }
        bail!("somebody puts shunt's entry back each time: {:?}", report.changed)
    }

    /// Until nothing is to be changed in any list. Gives those that were.
    fn change_lists(
        &self,
        node: &impl World,
        entries: &mut Vec<Value>,
    ) -> Result<BTreeSet<PathBuf>> {
        let mut changed = BTreeSet::new();
        for look in 1.. {
            let removal = Removal::of(node, self.net_dir)?;
            let is_done = removal.changes.is_empty() && !removal.is_moving;
            let mut trouble = removal.is_moving.then(|| anyhow!("its files are being renamed"));
            for change in removal.changes {
                match node.make(&change) {
                    Ok(_) => drop(changed.insert(change.path)),
                    Err(error) => trouble = Some(error),
                }
            }
            entries.extend(removal.entries);
            let doubtful = removal.doubtful.into_iter().next();
            let doubtful = doubtful.map(|(path, why)| why.context(path.display().to_string()));
            match trouble.or(doubtful) {
                None if is_done => break,
                None => {}
                Some(trouble) if look == LOOKS => return Err(trouble),
                Some(_) => node.rest(LOOK),
            }
        }
        Ok(changed)
    }
}

/// What entries had pinned, and locked, in other places than this call's.
fn elsewhere(node: &impl World, entries: &[Value]) -> BTreeSet<String> {
    let places = entries.iter().filter_map(|entry| {
        let place = |key: &str, default| PathBuf::from(entry[key].as_str().unwrap_or(default));
        let pins = place("pinPath", shim::paths::PINS);
        let lock = place("lockFile", shim::paths::LOCK);
        let is_own = (&pins, &lock) == (&node.path_of(Part::Pins), &node.path_of(Part::LockFile));
        let is_there = [&pins, &lock, &claim::path(&lock)].iter().any(|it| node.has(it));
        let (pins, lock) = (pins.display(), lock.display());
        (!is_own && is_there).then(|| {
            format!(
                "an entry had its programs in {pins} and its lock in {lock}, which stay: call \
                 `shuntctl uninstall --pin-path {pins} --lock-file {lock}`"
            )
        })
    });
    places.collect()
}

fn remove_logs(entries: &[Value]) -> Result<Vec<PathBuf>> {
    let logs = entries.iter().filter_map(|entry| entry["logFile"].as_str());
    let logs: BTreeSet<PathBuf> = logs.map(PathBuf::from).collect();
    let is_file = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|file| file.is_file());
    let logs = logs.into_iter().filter(is_file);
    logs.map(|log| match fs::remove_file(&log) {
        Ok(()) => Ok(log),
        Err(error) => Err(error).with_context(|| log.display().to_string()),
    })
    .collect()
}

impl Report {
    fn stopped(&self, error: anyhow::Error) -> anyhow::Error {
        let changed = self.changed.iter();
        Stopped {
            error,
            done: changed
                .map(|path| format!("{} has no entry of shunt any more", path.display()))
                .collect(),
            stays: "the plugin and the programs stay, and pods go on as before".into(),
            next: "mend that and call `shuntctl uninstall` again".into(),
        }
        .into()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for path in &self.changed {
            writeln!(f, "{} has no entry of shunt any more", path.display())?;
        }
        if let Some(name) = &self.wanted_by {
            let rest = if self.changed.is_empty() { "everything" } else { "everything else" };
            return writeln!(f, "{rest} stays, for {name}");
        }
        for path in &self.removed {
            writeln!(f, "{} removed", path.display())?;
        }
        for what in &self.stays {
            writeln!(f, "{what}")?;
        }
        match (&self.waits_for, &self.kept) {
            (Some(what), _) => writeln!(
                f,
                "{what}: the plugin and the programs stay; call `shuntctl uninstall` again"
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
