//! A part of a mesh: what it spends and holds.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tests::cpu::{Meter, Spent};

/// The programs in these containers' cgroups.
pub struct Part(pub Vec<PathBuf>);

/// What all parts spent between two moments, and what they hold at the second.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bill {
    pub spent: Spent,
    /// CPU time of each part.
    pub cpu: Vec<Duration>,
    /// Of each part, see [`Part::memory`].
    pub memory: Vec<u64>,
}

/// Measures from [`Meters::start`] to [`Meters::stop`].
pub struct Meters<'a> {
    whole: Meter,
    parts: Vec<(&'a Part, Vec<Meter>)>,
}

impl<'a> Meters<'a> {
    /// Of the whole machine, thereof the node's cgroup, and these parts of it.
    ///
    /// # Errors
    /// As [`Meter::start`].
    pub fn start(node: &Path, parts: &'a [Part]) -> Result<Self> {
        let meter = |cgroup: &PathBuf| Meter::start(cgroup);
        let meters = |part: &'a Part| Ok((part, part.0.iter().map(meter).collect::<Result<_>>()?));
        Ok(Self {
            parts: parts.iter().map(meters).collect::<Result<_>>()?,
            whole: Meter::start(node)?,
        })
    }

    /// # Errors
    /// As [`Meter::start`] and [`Part::memory`].
    pub fn stop(&self) -> Result<Bill> {
        let spent = self.whole.stop()?;
        let cpu = |meters: &[Meter]| meters.iter().map(|meter| Ok(meter.stop()?.pods)).sum();
        Ok(Bill {
            spent,
            cpu: self.parts.iter().map(|(_, meters)| cpu(meters)).collect::<Result<_>>()?,
            memory: self.parts.iter().map(|(part, _)| part.memory()).collect::<Result<_>>()?,
        })
    }
}

impl Part {
    /// Memory of its processes in KiB, where what several processes share is divided among them (proc(5):
    /// Pss). What the kernel holds for them is not in it.
    ///
    /// # Errors
    /// A process has ended, or the kernel has no smaps_rollup.
    fn memory(&self) -> Result<u64> {
        let mut sum = 0;
        for cgroup in &self.0 {
            for process in fs::read_to_string(cgroup.join("cgroup.procs"))?.lines() {
                let path = format!("/proc/{process}/smaps_rollup");
                let text = fs::read_to_string(&path).with_context(|| path.clone())?;
                let pss = text.lines().find_map(|line| line.strip_prefix("Pss:"));
                let pss = pss.and_then(|pss| pss.trim().strip_suffix(" kB")).context(path)?;
                sum += pss.parse::<u64>()?;
            }
        }
        Ok(sum)
    }
}
