//! `uninstall`: what a runtime reads first, then what it calls, then what the kernel holds.

mod report;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
pub use report::Report;
use serde_json::Value;

use crate::{
    binary,
    claim::{self, Claimed, Purpose},
    daemon_set,
    drain::Patience,
    made_with,
    net_d::derived::is_derived,
    output::{Exit, Output},
    paths::{Cni, Datapath},
    removal::Removal,
    world::{Host, Part, World},
};

/// Between two looks at what cannot be read: it may be half written.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: u32 = 20;
/// How often an entry is taken out that somebody puts back.
const ROUNDS: u32 = 5;
/// Of a log, in bytes, by which it is known whose it is.
const LINE: u64 = 1 << 10;
/// After what cannot be read of who else needs the plugin.
const ANEW: &str = "call `shuntctl install` for each --net-dir that has shunt, which writes it anew, and \
                    then `shuntctl uninstall` again";

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
    /// Leave the binary, for runtimes that call what a pod was made with (CRI-O, podman), until those are gone. So it
    /// does by itself where libcni's cache has such a pod
    #[arg(long)]
    keep_binary: bool,
    /// The folder of --net-dir will not be back, so that no list in it names the plugin
    #[arg(long)]
    net_dir_gone: bool,
    /// libcni's cache
    #[arg(long, value_name = "DIR", default_value = "/var/lib/cni")]
    cni_cache: PathBuf,
    /// In a pod: do nothing as long as there is this DaemonSet in its namespace
    #[arg(long, value_name = "NAME")]
    unless_daemonset: Option<String>,
}

/// How shunt is to leave.
pub struct Leave<'a> {
    pub net_dir: &'a Path,
    pub settle: Duration,
    pub patience: Patience,
    pub keep_binary: bool,
    /// `net_dir` will not be back.
    pub is_gone: bool,
    /// Pods that still need the binary.
    pub needed_by: &'a dyn Fn() -> Vec<String>,
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
        let Self { cni, datapath, settle, patience, keep_binary, cni_cache, .. } = self;
        let is_gone = self.net_dir_gone;
        let (net_dir, skips) = (cni.net_dir.clone(), cni.reader(&[]).skips);
        let needed_by = || made_with::pods(&cni_cache, skips);
        let leave = Leave {
            net_dir: &net_dir,
            settle,
            patience,
            keep_binary,
            is_gone,
            needed_by: &needed_by,
        };
        let host = Host { cni, datapath, source: PathBuf::new() };
        let exit = host
            .datapath
            .check_lock()
            .and_then(|()| has_own_plugin(&host))
            .and_then(|()| leave.take_off(&host, &mut report, remove_logs));
        let exit = exit.map_err(|error| report.stopped(error))?;
        report.also_in = claim::elsewhere(&host.datapath.lock_file, &host.cni.bin_dir);
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
        if !self.is_gone && node.is_there(Part::Binary) {
            is_there(node, self.net_dir, report)?;
        }
        let had_lock = node.is_there(Part::LockFile);
        let Claimed::Held(claim) = node.claim(Purpose::Leave)? else {
            report.wanted_by = Some("another pod, which has installed it since".into());
            return Ok(Exit::Done);
        };
        let mut entries = self.leave_lists(node, report)?;
        let others = node.others(&claim).inspect_err(|_| report.next = Some(ANEW.into()))?;
        for dir in others {
            let uses = uses(node, &dir);
            if uses == Uses::Nothing {
                continue;
            }
            node.forget(&claim)?;
            is_there(node, &dir, report)?;
            report.wanted_by = Some(dir.display().to_string());
            if uses == Uses::Programs {
                return Ok(Exit::Done);
            }
        }
        let left = node.drain(self.patience)?;
        if left.sockets > 0 {
            report.waits_for = Some(left.to_string());
            return Ok(Exit::TimedOut);
        }
        if self.change_lists(node, &mut entries, report)? {
            entries.extend(self.leave_lists(node, report)?);
        }
        // Now, as another call would not know them any more.
        report.removed.extend(logs(&entries)?);
        let mut binary_stays = report.wanted_by.is_some();
        if !binary_stays && node.is_there(Part::Binary) {
            report.needed_by = (self.needed_by)();
        }
        let keeps = self.keep_binary || !report.needed_by.is_empty();
        for part in [Part::Unfinished, Part::Binary, Part::NetDirs, Part::Pins, Part::LockFile] {
            let path = node.path_of(part);
            match part {
                Part::Binary | Part::NetDirs if binary_stays => continue,
                Part::Binary if keeps => {
                    node.forget(&claim)?;
                    report.kept = Some(path);
                    binary_stays = true;
                    continue;
                }
                _ if !node.is_there(part) => continue,
                _ => {}
            }
            match node.remove(part) {
                Err(error) => {
                    binary_stays |= part == Part::Binary;
                    report.stays.push(format!("{error:#}: it stays"));
                }
                Ok(()) if matches!(part, Part::Unfinished | Part::NetDirs) => {}
                // It may be one that this call has made.
                Ok(()) if part == Part::LockFile && !had_lock => {}
                // Others have something in that folder.
                Ok(()) if part == Part::Pins && node.is_there(part) => {}
                Ok(()) => report.removed.push(path),
            }
        }
        if let Err(error) = node.give_up(claim) {
            report.stays.push(format!("{error:#}: it stays"));
        }
        report.stays.extend(elsewhere(node, &entries));
        Ok(if report.stays.is_empty() { Exit::Done } else { Exit::Failed })
    }

    /// From here on no pod needs shunt, or there is an error. Gives the entries that were there.
    fn leave_lists(&self, node: &impl World, report: &mut Report) -> Result<Vec<Value>> {
        let mut entries = Vec::new();
        for _ in 0..ROUNDS {
            let changed = self.change_lists(node, &mut entries, report)?;
            if !changed && !node.is_there(Part::Binary) {
                return Ok(entries);
            }
            // Who had read a list before it was changed may write it back.
            node.rest(self.settle);
            if !self.change_lists(node, &mut entries, report)? {
                return Ok(entries);
            }
        }
        bail!("somebody puts shunt's entry back each time: {:?}", report.changed)
    }

    /// Until nothing is to be changed in any list. Whether something was.
    fn change_lists(
        &self,
        node: &impl World,
        entries: &mut Vec<Value>,
        report: &mut Report,
    ) -> Result<bool> {
        let mut changed = false;
        for look in 1.. {
            let removal = Removal::of(node, self.net_dir)?;
            let is_done = removal.changes.is_empty() && !removal.is_moving;
            let mut trouble = removal.is_moving.then(|| anyhow!("its files are being renamed"));
            for change in removal.changes {
                match node.make(&change) {
                    Ok(_) => {
                        changed = true;
                        if is_derived(&change.path) && change.after.is_some() {
                            report.shared.insert(change.path.clone());
                        }
                        report.changed.insert(change.path);
                    }
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
        let (pins, lock) = place(entry);
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

/// # Errors
/// A folder of lists is away, as one that is not mounted.
fn is_there(node: &impl World, dir: &Path, report: &mut Report) -> Result<()> {
    if node.has(&dir.join(".")) {
        return Ok(());
    }
    let name = dir.display();
    report.next = Some(format!(
        "bring it back, or call `shuntctl uninstall --net-dir {name}` with --net-dir-gone if it will not be"
    ));
    bail!("{name} is not there: its lists may name the plugin")
}

/// What a folder's lists have in common with what leaves.
#[derive(PartialEq)]
enum Uses {
    Nothing,
    Plugin,
    /// And the plugin. Also where that cannot be known.
    Programs,
}

fn uses(node: &impl World, dir: &Path) -> Uses {
    let is_own = |entry| {
        let (pins, lock) = place(entry);
        pins == node.path_of(Part::Pins) || lock == node.path_of(Part::LockFile)
    };
    match Removal::of(node, dir) {
        Ok(it) if it.is_moving || !it.doubtful.is_empty() || !node.has(&dir.join(".")) => {
            Uses::Programs
        }
        Ok(it) if it.entries.iter().any(is_own) => Uses::Programs,
        Ok(it) if it.entries.is_empty() => Uses::Nothing,
        Ok(_) => Uses::Plugin,
        Err(_) => Uses::Programs,
    }
}

/// Where an entry has its programs, and its lock.
fn place(entry: &Value) -> (PathBuf, PathBuf) {
    let place = |key: &str, default| PathBuf::from(entry[key].as_str().unwrap_or(default));
    (place("pinPath", shim::paths::PINS), place("lockFile", shim::paths::LOCK))
}

/// # Errors
/// Lists name another's plugin of that name.
fn has_own_plugin(host: &Host) -> Result<()> {
    let plugin = host.path_of(Part::Binary);
    let (lock_file, bin_dir) = (&host.datapath.lock_file, &host.cni.bin_dir);
    ensure!(
        !claim::is_away(lock_file, bin_dir),
        "{0} is not there, and has the plugin: bring it back, or make it (mkdir -p {0}) if it will not be",
        bin_dir.display()
    );
    if let Some(dir) = claim::elsewhere(&host.datapath.lock_file, &host.cni.bin_dir) {
        bail!("the plugin is in {0}: give --bin-dir {0}", dir.display());
    }
    let is_anothers = !claim::tells_of_binary(&host.datapath.lock_file)
        && binary::is_anothers(&plugin).with_context(|| plugin.display().to_string())?;
    let names = || anyhow::Ok(!Removal::of(host, &host.cni.net_dir)?.entries.is_empty());
    ensure!(
        !is_anothers || !names()?,
        "{} is not shunt's, or not whole, and lists name it: move it away if they mean shunt",
        plugin.display()
    );
    Ok(())
}

/// Whether a log was begun by the plugin, whose lines begin with a time and a level. Another's file that was given
/// to it stays.
fn begins_as_plugins(log: &Path) -> bool {
    let mut first = String::new();
    let read =
        File::open(log).and_then(|file| BufReader::new(file).take(LINE).read_line(&mut first));
    let mut words = first.split(' ');
    let is_time = |word: &str| humantime::parse_rfc3339(word).is_ok();
    let is_line = words.next().is_some_and(is_time)
        && words.next().is_some_and(|word| word.parse::<log::Level>().is_ok());
    let is_own = read.is_ok_and(|read| read == 0 || is_line);
    if !is_own {
        log::warn!("{} does not begin as a log of shunt's: it stays", log.display());
    }
    is_own
}

fn remove_logs(entries: &[Value]) -> Result<Vec<PathBuf>> {
    let logs = entries.iter().filter_map(|entry| entry["logFile"].as_str());
    let logs: BTreeSet<PathBuf> = logs.map(PathBuf::from).collect();
    let is_file = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|file| file.is_file());
    let logs = logs.into_iter().filter(|log| is_file(log) && begins_as_plugins(log));
    logs.map(|log| match fs::remove_file(&log) {
        Ok(()) => Ok(log),
        Err(error) => Err(error).with_context(|| log.display().to_string()),
    })
    .collect()
}
