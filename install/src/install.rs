//! `install`: the binary, the programs, and the entry in the list that the runtime uses.

use std::{
    fmt,
    path::PathBuf,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::Serialize;
use shim::{lock::Lock, refusal::Refusal};

use crate::{
    adopt::Adopt,
    binary::{self, Binary},
    claim::Claim,
    conflist::SHUNT,
    drain::Patience,
    entry::Entry,
    net_d::{self, Plan, Unready},
    output::{Exit, Output},
    paths::{Cni, Datapath},
    pods::Logs,
    settings,
    upgrade::Upgrade,
};

/// How long the datapath may be locked by a plugin.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks for a primary's configuration.
const LOOK: Duration = Duration::from_millis(200);

/// Put shunt on this node. Again: nothing changes
#[derive(clap::Args)]
pub struct Install {
    #[command(flatten)]
    cni: Cni,
    #[command(flatten)]
    datapath: Datapath,
    #[command(flatten)]
    binary: Binary,
    #[command(flatten)]
    entry: Entry,
    /// How long to wait for the primary's configuration: 30s, 10m
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// Change nothing and print what would change
    #[arg(long)]
    dry_run: bool,
    /// Do nothing on a node that cannot accelerate, and end with 3
    #[arg(long)]
    must_accelerate: bool,
    /// Then `upgrade` and `adopt`. What cannot be done of these is told, and is no failure
    #[arg(long)]
    adopt: bool,
    #[command(flatten)]
    logs: Logs,
    #[command(flatten)]
    patience: Patience,
}

#[derive(Default, Serialize)]
struct Report {
    binary: PathBuf,
    binary_placed: bool,
    /// Why no pod will be accelerated.
    cannot_accelerate: Option<String>,
    /// The file that the runtime uses.
    primary: Option<PathBuf>,
    changed: Vec<PathBuf>,
    /// Of a dry run.
    diff: Option<String>,
    waits_for: Option<String>,
}

impl Install {
    pub fn run(self, output: Output) -> Result<Exit> {
        let source = self.binary.path()?;
        let spoken = binary::versions(&source)?;
        let entry = self.entry.value(&self.datapath)?;
        binary::check_entry(&source, &entry)?;
        let plan = || {
            let plan = net_d::install(&self.cni.net_dir, &entry, false, &spoken)?;
            net_d::calls_from(&self.cni.bin_dir, &plan.primary).map(|()| plan)
        };
        let mut report = Report { binary: self.cni.bin_dir.join(SHUNT), ..Report::default() };

        if !self.dry_run {
            report.cannot_accelerate = self.load().err().map(|refusal| refusal.to_string());
            if self.must_accelerate && report.cannot_accelerate.is_some() {
                output.print(&report);
                return Ok(Exit::CannotAccelerate);
            }
            let _claim = Claim::stake(&self.datapath.lock_file)?;
            report.binary_placed = binary::place(&source, &self.cni.bin_dir)?;
        }
        let deadline = Instant::now() + self.wait;
        let exit = loop {
            let claim = (!self.dry_run).then(|| Claim::stake(&self.datapath.lock_file));
            let claim = claim.transpose()?;
            match plan() {
                Ok(plan) if self.dry_run => {
                    report.diff = Some(plan.changes.iter().map(|change| change.diff()).collect());
                    report.primary = Some(plan.primary);
                    break Exit::Done;
                }
                Ok(plan) => match make(&plan) {
                    Err(error) if Instant::now() > deadline => return Err(error),
                    Err(_) => {}
                    Ok(()) => {
                        report.changed =
                            plan.changes.into_iter().map(|change| change.path).collect();
                        report.primary = Some(plan.primary);
                        break Exit::Done;
                    }
                },
                Err(Unready::NoPrimary(dir)) if Instant::now() >= deadline => {
                    report.waits_for = Some(Unready::NoPrimary(dir).to_string());
                    break Exit::TimedOut;
                }
                Err(unready) if Instant::now() >= deadline => return Err(unready.into()),
                Err(unready) => {
                    let unready = unready.to_string();
                    if report.waits_for.as_ref() != Some(&unready) {
                        log::info!("{unready}; waiting");
                        report.waits_for = Some(unready);
                    }
                }
            }
            drop(claim);
            sleep(LOOK);
        };
        if exit == Exit::Done {
            report.waits_for = None;
        }
        output.print(&report);
        if self.adopt && exit == Exit::Done && !self.dry_run && report.cannot_accelerate.is_none() {
            self.adopt(output);
        }
        Ok(exit)
    }

    fn adopt(self, output: Output) {
        let Self { cni, datapath, logs, patience, .. } = self;
        let adopt = Adopt { datapath: datapath.clone(), cni: cni.clone(), logs: logs.clone() };
        let upgraded = Upgrade { datapath, cni, logs, patience }.run(output);
        let adopted = adopt.run(output);
        for error in [upgraded.err(), adopted.err()].into_iter().flatten() {
            log::warn!("{error:#}");
        }
    }

    fn load(&self) -> Result<(), Refusal> {
        let _lock = Lock::take(&self.datapath.lock_file, PATIENCE)?;
        let settings = settings::of_node(&self.cni.net_dir);
        shim::datapath::Datapath::open_or_load(&self.datapath.pin_path, settings).map(drop)
    }
}

fn make(plan: &Plan) -> Result<()> {
    plan.changes.iter().try_for_each(|change| change.make().map(drop))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if let Some(diff) = &self.diff {
            return f.write_str(diff);
        }
        if let Some(why) = &self.cannot_accelerate {
            writeln!(f, "this node cannot accelerate, pods stay plain TCP: {why}")?;
        }
        let placed = if self.binary_placed { "placed" } else { "is there already" };
        if let Some(primary) = &self.primary {
            writeln!(f, "{} {placed}", self.binary.display())?;
            writeln!(f, "{} is the primary's configuration", primary.display())?;
        }
        for path in &self.changed {
            writeln!(f, "{} changed", path.display())?;
        }
        if let (Some(_), true) = (&self.primary, self.changed.is_empty()) {
            writeln!(f, "shunt's entry is there already")?;
        }
        self.waits_for.iter().try_for_each(|what| writeln!(f, "{what}"))
    }
}
