//! What the whole machine spends.

use anyhow::{Context, Result, bail};
use nix::unistd::{SysconfVar, sysconf};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// CPU time spent between two moments.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Spent {
    /// By the whole machine, on anything but idling or waiting for I/O.
    pub all: Duration,
    /// Thereof in the cgroup of the measured pods.
    pub pods: Duration,
}

/// What is to be said of measurements of the whole machine, if much else ran on it.
pub fn note_of_others(all: impl Iterator<Item = Spent>) -> Option<String> {
    let (others, total) = all.fold((0.0, 0.0), |(others, total), Spent { all, pods }| {
        (others + all.saturating_sub(pods).as_secs_f64(), total + all.as_secs_f64())
    });
    (others > total / 20.0).then(|| {
        format!(
            "Note: {:.0} % of the CPU time went to something else on this machine: it is in \
             these numbers.",
            others / total * 100.0
        )
    })
}

/// Measures from [`Meter::start`] to [`Meter::stop`].
pub struct Meter {
    cgroup: PathBuf,
    at_start: Spent,
}

impl Meter {
    /// # Errors
    /// /proc/stat or the cgroup's cpu.stat cannot be read.
    pub fn start(cgroup: &Path) -> Result<Meter> {
        Ok(Meter { cgroup: cgroup.into(), at_start: since_boot(cgroup)? })
    }

    /// # Errors
    /// As [`Meter::start`].
    pub fn stop(&self) -> Result<Spent> {
        let now = since_boot(&self.cgroup)?;
        Ok(Spent {
            all: now.all.saturating_sub(self.at_start.all),
            pods: now.pods.saturating_sub(self.at_start.pods),
        })
    }
}

fn since_boot(cgroup: &Path) -> Result<Spent> {
    Ok(Spent { all: machine()?, pods: pods(&cgroup.join("cpu.stat"))? })
}

/// The first line of /proc/stat: `cpu user nice system idle iowait irq softirq …`, in ticks.
fn machine() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let fields = stat.split_whitespace().skip(1).take(7).map(str::parse);
    let ticks: Vec<u64> = fields.collect::<Result<_, _>>().context("/proc/stat")?;
    let [user, nice, system, _, _, irq, softirq] = ticks[..] else { bail!("/proc/stat: {stat}") };
    let hertz = sysconf(SysconfVar::CLK_TCK)?.context("no clock tick")? as u64;
    Ok(Duration::from_millis((user + nice + system + irq + softirq) * 1000 / hertz))
}

/// `usage_usec`, which a cgroup has without any controller.
fn pods(stat: &Path) -> Result<Duration> {
    let text = fs::read_to_string(stat).with_context(|| stat.display().to_string())?;
    let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
    Ok(Duration::from_micros(usage.context("no usage_usec")?.parse()?))
}
