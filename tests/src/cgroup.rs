//! Ending what runs in a cgroup, and taking the cgroup away.

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long the processes of a cgroup may take to die.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the hierarchies are mounted: that of version 2, and those of version 1 where there are some.
///
/// # Errors
/// Of reading /proc/self/mounts.
pub fn hierarchies() -> io::Result<Vec<PathBuf>> {
    // proc_pid_mounts(5): device, mount point, type
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let of_cgroups = fields.filter(|mount| matches!(mount[2], "cgroup" | "cgroup2"));
    Ok(of_cgroups.map(|mount| mount[1].into()).collect())
}

/// Kills every process in the cgroup and below and removes all of it. Not there: Ok.
///
/// # Errors
/// It could not be removed within 5 s.
pub fn remove(cgroup: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match remove_once(cgroup) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                if Instant::now() > deadline {
                    return Err(e).with_context(|| format!("remove cgroup {}", cgroup.display()));
                }
                sleep(Duration::from_millis(5));
            }
            _ => return Ok(()),
        }
    }
}

/// Removes the cgroup and what is below it if no process lives there.
pub(crate) fn remove_empty(cgroup: &Path) -> io::Result<()> {
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_empty(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}

fn remove_once(cgroup: &Path) -> io::Result<()> {
    kill_all(cgroup)?;
    remove_empty(cgroup)
}

/// All that run in the cgroup and below.
///
/// # Errors
/// Of reading it.
pub fn processes(cgroup: &Path) -> io::Result<Vec<String>> {
    let own = fs::read_to_string(cgroup.join("cgroup.procs"))?;
    let mut all: Vec<_> = own.lines().map(str::to_owned).collect();
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            all.extend(processes(&entry.path())?);
        }
    }
    Ok(all)
}

/// Sends SIGKILL to every process in the cgroup and below.
pub(crate) fn kill_all(cgroup: &Path) -> io::Result<()> {
    // cgroup.kill would do, but Linux 5.10 lacks it.
    for pid in fs::read_to_string(cgroup.join("cgroup.procs"))?.lines() {
        // 0: it is in a pid namespace that is not ours to touch.
        if let Some(pid) = pid.parse().ok().filter(|pid| *pid > 0) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            kill_all(&entry.path())?;
        }
    }
    Ok(())
}
