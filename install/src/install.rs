//! `install`: the binary, the programs, and the entry in the list that the runtime uses.

use std::{fmt, path::PathBuf, time::Duration};

use anyhow::{Result, anyhow, ensure};
use serde::Serialize;

use crate::{
    adopt::Adopt,
    binary::{self, Binary},
    claim::{self, Claimed, Purpose},
    drain::Patience,
    entry::{Entry, Wanted},
    net_d::{Plan, Reader, Unready},
    output::{self, Exit, Output, Stopped},
    paths::{Cni, Datapath},
    pods::Logs,
    settings, unable,
    upgrade::Upgrade,
    world::{Host, Part, World},
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

#[derive(Debug, Default, Serialize)]
pub struct Report {
    binary: PathBuf,
    binary_placed: bool,
    #[serde(skip)]
    loaded: bool,
    /// Why no pod will be accelerated.
    cannot_accelerate: Option<String>,
    /// The file that the runtime uses.
    primary: Option<PathBuf>,
    changed: Vec<PathBuf>,
    /// Keys of an entry that was there, which are changed or gone.
    lost_keys: Vec<String>,
    /// Files that the runtime passes over, and why.
    skipped: Vec<String>,
    /// Of a dry run.
    diff: Option<String>,
    waits_for: Option<String>,
    /// Another folder with the plugin, from an earlier install.
    also_in: Option<PathBuf>,
    /// Keys of the entry that count later, and what to do that they count.
    not_in_force: Vec<String>,
}

/// What is to be on the node.
pub struct Order<'a> {
    pub reader: Reader<'a>,
    pub wanted: &'a Wanted,
    pub wait: Duration,
    pub must_accelerate: bool,
}

impl Install {
    pub fn run(self, output: Output) -> Result<Exit> {
        self.datapath.check_lock()?;
        let bin_dir = &self.cni.bin_dir;
        // A dry run tells what would be missed there.
        ensure!(
            self.dry_run || bin_dir.is_dir(),
            "{} is not there; {}",
            bin_dir.display(),
            claim::advice(&self.datapath.lock_file, bin_dir)
        );
        let source = self.binary.path()?;
        let spoken = binary::versions(&source)?;
        let wanted = self.entry.value(&self.datapath)?;
        binary::check_entry(&source, &wanted.entry)?;
        let host = Host { cni: self.cni.clone(), datapath: self.datapath.clone(), source };
        let order = Order {
            reader: self.cni.reader(&spoken),
            wanted: &wanted,
            wait: self.wait,
            must_accelerate: self.must_accelerate,
        };
        let mut report = Report::new(&host);
        report.also_in = claim::elsewhere(&self.datapath.lock_file, bin_dir);
        let exit = match self.dry_run {
            true => order.try_out(&host, &mut report),
            false => order.put(&host, &mut report),
        };
        let exit = exit.and_then(|exit| {
            if !self.dry_run {
                report.not_in_force = settings::not_in_force(&self.cni.net_dir, &self.datapath)?;
            }
            Ok(exit)
        });
        let exit = exit.map_err(|error| report.stopped(error))?;
        output.print(&report);
        if let Some(why) = &report.cannot_accelerate {
            unable::tell(why);
        }
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
}

impl Order<'_> {
    /// What would be done now.
    fn try_out(&self, node: &impl World, report: &mut Report) -> Result<Exit> {
        let plan = match self.plan(node) {
            Err(unready @ Unready::NoPrimary(_)) => {
                report.waits_for = Some(unready.to_string());
                return Ok(Exit::TimedOut);
            }
            plan => plan?,
        };
        report.diff = Some(plan.changes.iter().map(|change| change.diff()).collect());
        report.binary_placed = !node.is_there(Part::Binary);
        report.tell(&plan);
        Ok(Exit::Done)
    }

    /// Each look is one claim on the node, held until the last change.
    pub fn put<W: World>(&self, node: &W, report: &mut Report) -> Result<Exit> {
        let had_lock = node.is_there(Part::LockFile);
        if self.must_accelerate
            && let Err(refusal) = node.load(self.wanted)
        {
            if !had_lock {
                node.remove(Part::LockFile)?;
            }
            report.cannot_accelerate = Some(refusal.to_string());
            return Ok(Exit::CannotAccelerate);
        }
        let deadline = node.now() + self.wait;
        let mut purpose = Purpose::Install;
        loop {
            let Claimed::Held(claim) = node.claim(purpose)? else {
                return Err(anyhow!("shunt was uninstalled while this waited"));
            };
            purpose = Purpose::Resume;
            report.cannot_accelerate =
                node.load(self.wanted).err().map(|refusal| refusal.to_string());
            report.loaded = report.cannot_accelerate.is_none();
            report.binary_placed |= node.place(&claim)?;
            node.remember(&claim)?;
            let unready = match self.plan(node) {
                Ok(plan) => match make(node, &plan, report) {
                    Ok(()) => {
                        report.tell(&plan);
                        report.waits_for = None;
                        return Ok(Exit::Done);
                    }
                    Err(error) => Unready::Io(error),
                },
                Err(unready) => unready,
            };
            let told = unready.to_string();
            if node.now() >= deadline {
                report.waits_for = Some(told);
                return match unready {
                    Unready::NoPrimary(_) => Ok(Exit::TimedOut),
                    unready => Err(unready.into()),
                };
            }
            if report.waits_for.as_ref() != Some(&told) {
                log::info!("{told}; waiting");
                report.waits_for = Some(told);
            }
            drop(claim);
            node.rest(LOOK);
        }
    }

    fn plan(&self, node: &impl World) -> Result<Plan, Unready> {
        let plan = self.reader.install(node, self.wanted)?;
        let unusable = |why| Unready::Unusable { path: plan.primary.clone(), why };
        if plan.entry != self.wanted.entry {
            node.check(&plan.entry).map_err(unusable)?;
        }
        Ok(plan)
    }
}

fn make(node: &impl World, plan: &Plan, report: &mut Report) -> Result<()> {
    for change in &plan.changes {
        node.make(change)?;
        report.changed.push(change.path.clone());
    }
    Ok(())
}

impl Report {
    pub fn new(node: &impl World) -> Self {
        Self { binary: node.path_of(Part::Binary), ..Self::default() }
    }

    fn tell(&mut self, plan: &Plan) {
        self.primary = Some(plan.primary.clone());
        self.lost_keys.clone_from(&plan.lost);
        self.skipped.clone_from(&plan.skipped);
    }

    fn stopped(&self, error: anyhow::Error) -> anyhow::Error {
        let mut done = Vec::new();
        if self.loaded {
            done.push("the eBPF programs are loaded, and the node is claimed for shunt".into());
        }
        if self.binary_placed {
            done.push(format!("{} was placed", self.binary.display()));
        }
        done.extend(self.changed.iter().map(|path| format!("{} was changed", path.display())));
        let next = output::next(
            &error,
            "mend that and call `shuntctl install` again, or `shuntctl uninstall`",
        );
        Stopped {
            error,
            done,
            stays: "every file that is not named here is as it was".into(),
            next,
        }
        .into()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.diff.as_deref() {
            Some("") if self.binary_placed => writeln!(f, "shunt's entry is there already")?,
            Some("") => writeln!(f, "nothing would change: shunt's entry is there already")?,
            Some(diff) => f.write_str(diff)?,
            None => {}
        }
        if self.diff.is_some() && self.binary_placed {
            writeln!(f, "{} would be placed", self.binary.display())?;
        }
        if let Some(why) = &self.cannot_accelerate {
            writeln!(f, "this node cannot accelerate, pods stay plain TCP: {why}")?;
        }
        if let (Some(primary), None) = (&self.primary, &self.diff) {
            let placed = if self.binary_placed { "placed" } else { "is there already" };
            writeln!(f, "{} {placed}", self.binary.display())?;
            writeln!(f, "{} is the primary's configuration", primary.display())?;
            for path in &self.changed {
                writeln!(f, "{} changed", path.display())?;
            }
            if self.changed.is_empty() {
                writeln!(f, "shunt's entry is there already")?;
            }
        }
        if self.primary.is_none() && self.binary_placed {
            writeln!(f, "{} placed", self.binary.display())?;
        }
        for skipped in &self.skipped {
            writeln!(f, "passed over, as CRI-O does: {skipped}")?;
        }
        for key in &self.lost_keys {
            writeln!(f, "the entry that was there loses {key}")?;
        }
        for key in &self.not_in_force {
            writeln!(f, "{key}")?;
        }
        if let Some(dir) = &self.also_in {
            let dir = dir.display();
            writeln!(f, "{dir} has the plugin too: `shuntctl uninstall` leaves that one")?;
        }
        self.waits_for.iter().try_for_each(|what| {
            writeln!(
                f,
                "{what}: every list is as it was; call `shuntctl install --wait 10m`, or `shuntctl uninstall`"
            )
        })
    }
}
