//! How long eBPF programs run, as the kernel measures it (bpf_stats_enabled), which costs each run some 100 ns.

use crate::{bpftool::bpftool, neighbour};
use anyhow::{Context as _, Result};
use std::{ffi::OsStr, os::fd::OwnedFd, path::Path};

/// The kernel measures until this is dropped, or whoever has it ends.
pub struct Stopwatch {
    _enabled: OwnedFd,
}

/// What a program took since it was loaded, as far as it was measured.
#[derive(Clone, Copy, Debug)]
pub struct Runs {
    pub nanoseconds: u64,
    pub runs: u64,
}

impl Stopwatch {
    /// # Errors
    /// The kernel refuses (BPF_ENABLE_STATS, from 5.8).
    pub fn start() -> Result<Self> {
        Ok(Self { _enabled: neighbour::enable_stats().context("BPF_ENABLE_STATS")? })
    }
}

impl Runs {
    /// Of a program by its pin.
    ///
    /// # Errors
    /// It is not there.
    pub fn of_pin(pin: &Path) -> Result<Self> {
        Self::of([OsStr::new("pinned"), pin.as_os_str()])
    }

    /// Of a program by its id.
    ///
    /// # Errors
    /// It is not there.
    pub fn of_id(id: u32) -> Result<Self> {
        Self::of([OsStr::new("id"), OsStr::new(&id.to_string())])
    }

    fn of(program: [&OsStr; 2]) -> Result<Self> {
        let shown = bpftool(["prog", "show"].map(OsStr::new).into_iter().chain(program))?;
        // Missing where it never ran.
        let number = |key: &str| shown[key].as_u64().unwrap_or(0);
        Ok(Self { nanoseconds: number("run_time_ns"), runs: number("run_cnt") })
    }

    /// Nanoseconds a run, since then.
    pub fn each_since(self, before: Runs) -> f64 {
        (self.nanoseconds - before.nanoseconds) as f64 / (self.runs - before.runs) as f64
    }
}
