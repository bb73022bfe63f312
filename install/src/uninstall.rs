//! `uninstall`: what a runtime reads first, then what it calls, then what the kernel holds.

use std::{
    fmt, fs, io,
    io::ErrorKind,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use shim::lock::Lock;

use crate::{
    change::remove_unfinished,
    claim::Claim,
    conflist::SHUNT,
    daemon_set,
    drain::{self, Patience},
    install::PATIENCE,
    net_d,
    output::{Exit, Output},
    paths::{Cni, Datapath},
};

/// Take shunt off this node. Pods keep running
#[derive(clap::Args)]
pub struct Uninstall {
    #[command(flatten)]
    cni: Cni,
    #[command(flatten)]
    datapath: Datapath,
    /// How long pods that are being made may still call the plugin
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

#[derive(Default, Serialize)]
struct Report {
    changed: Vec<PathBuf>,
    removed: Vec<PathBuf>,
    kept: Option<PathBuf>,
    waits_for: Option<String>,
    /// The DaemonSet for which everything stays.
    wanted_by: Option<String>,
}

impl Uninstall {
    pub fn run(self, output: Output) -> Result<Exit> {
        let mut report = Report::default();
        if let Some(name) = &self.unless_daemonset
            && daemon_set::is_wanted(name)?
        {
            report.wanted_by = Some(name.clone());
            output.print(&report);
            return Ok(Exit::Done);
        }
        let logs = self.leave_lists(&mut report)?;
        if !report.changed.is_empty() {
            sleep(self.settle);
        }
        // Now, as another call would not know them any more.
        logs.iter().try_for_each(|log| report.removed(log, fs::remove_file(log)))?;
        let left = drain::all(&self.datapath.pin_path, self.patience, |_| ())?;
        if left.sockets > 0 {
            report.waits_for = Some(left.to_string());
            output.print(&report);
            return Ok(Exit::TimedOut);
        }
        let binary = self.cni.bin_dir.join(SHUNT);
        match self.keep_binary {
            true => report.kept = Some(binary),
            false => report.removed(&binary, fs::remove_file(&binary))?,
        }
        remove_unfinished(&self.cni.bin_dir)?;
        let lock = Lock::take(&self.datapath.lock_file, PATIENCE)?;
        let Datapath { pin_path, lock_file } = &self.datapath;
        report.removed(pin_path, fs::remove_dir_all(pin_path))?;
        report.removed(lock_file, fs::remove_file(lock_file))?;
        drop(lock);
        output.print(&report);
        Ok(Exit::Done)
    }

    /// From here on no pod needs shunt. Gives the log files that entries named.
    fn leave_lists(&self, report: &mut Report) -> Result<Vec<PathBuf>> {
        let claim = Claim::stake(&self.datapath.lock_file)?;
        let removal = net_d::uninstall(&self.cni.net_dir)?;
        for change in removal.changes {
            change.make()?;
            report.changed.push(change.path);
        }
        remove_unfinished(&self.cni.net_dir)?;
        // A list that names a missing binary makes pods undeletable.
        if let Some(doubtful) = removal.doubtful.first() {
            bail!("{doubtful}; it may name shunt, so the binary and the programs stay");
        }
        claim.give_up()?;
        let logs = removal.entries.iter().filter_map(|entry| entry["logFile"].as_str());
        let is_file = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|file| file.is_file());
        Ok(logs.map(PathBuf::from).filter(is_file).collect())
    }
}

impl Report {
    /// That it was gone already is no error.
    fn removed(&mut self, path: &Path, done: io::Result<()>) -> Result<()> {
        match done {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            done => {
                done.with_context(|| path.display().to_string())?;
                self.removed.push(path.to_owned());
            }
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if let Some(name) = &self.wanted_by {
            return writeln!(f, "there is a DaemonSet {name}: everything stays");
        }
        for path in &self.changed {
            writeln!(f, "{} has no entry of shunt any more", path.display())?;
        }
        for path in &self.removed {
            writeln!(f, "{} removed", path.display())?;
        }
        match (&self.waits_for, &self.kept) {
            (Some(what), _) => writeln!(f, "{what}: the binary and the programs stay; call again"),
            (None, Some(kept)) => {
                writeln!(f, "{} is kept; nothing else of shunt is left", kept.display())
            }
            (None, None) => writeln!(f, "nothing of shunt is left"),
        }
    }
}
