//! Programs that sleep in recv(2) and are known to lose nothing by EAGAIN there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    cgroup::PodCgroup,
    habits::Habits,
    jdk,
    layout::{MAX_PROGRAM, padded},
};

/// Looks at those that were seen since, in the pods whose cgroups are below `root`: their sockets may be
/// handed bytes from their next connection on. How many were found.
///
/// # Errors
/// Of the habits.
pub fn look(habits: &mut Habits, root: &Path) -> anyhow::Result<usize> {
    let java = padded(b"java").unwrap_or_default();
    let mut sleepers = habits.all()?;
    sleepers.retain(|(_, habit)| habit.sleeper == java && habit.tolerant == 0);
    if sleepers.is_empty() {
        return Ok(0);
    }
    let pods = PodCgroup::all(root);
    sleepers.retain(|(program, _)| {
        let pod = pods.iter().find(|pod| pod.id().is_some_and(|id| id == program.pod));
        pod.is_some_and(|pod| all_take_eagain(pod, java))
    });
    for (program, _) in &sleepers {
        habits.tolerates(program)?;
    }
    Ok(sleepers.len())
}

/// All of its processes of that name; there is one.
fn all_take_eagain(pod: &PodCgroup, name: [u8; MAX_PROGRAM]) -> bool {
    let is_called = |process: &PathBuf| {
        let comm = fs::read(process.join("comm")).unwrap_or_default();
        padded(comm.trim_ascii_end()) == Some(name)
    };
    let processes = pod.processes().into_iter().map(|pid| Path::new("/proc").join(pid.to_string()));
    let mut named = processes.filter(is_called).peekable();
    named.peek().is_some() && named.all(|process| jdk::takes_eagain(&process))
}
