//! Programs that sleep in recv(2) and are known to lose nothing by EAGAIN there.

use std::path::Path;

use crate::{
    cgroup::{Cgroup, PodCgroup},
    habits::Habits,
    jdk,
    layout::{MAX_PROGRAM, PodId, padded},
    process,
};

/// Looks at those that were seen since, in the pods whose cgroups are below `root`: their sockets may be
/// handed bytes from their next connection on. How many were found.
///
/// # Errors
/// Of the habits.
pub fn look(habits: &mut Habits, root: &Path) -> anyhow::Result<usize> {
    let java = padded(b"java").unwrap_or_default();
    let mut sleepers = habits.sleepers(java)?;
    if sleepers.is_empty() {
        return Ok(0);
    }
    let pods = PodCgroup::all(root);
    sleepers.retain(|program| {
        let pod = pods.iter().find(|pod| is_of(pod, program.pod));
        pod.is_some_and(|pod| all_take_eagain(pod, java))
    });
    for program in &sleepers {
        habits.tolerates(program)?;
    }
    Ok(sleepers.len())
}

fn is_of(cgroup: &PodCgroup, pod: PodId) -> bool {
    Cgroup::open(&cgroup.path).is_ok_and(|cgroup| cgroup.id == pod)
}

/// All of its processes of that name; there is one.
fn all_take_eagain(pod: &PodCgroup, name: [u8; MAX_PROGRAM]) -> bool {
    let processes = pod.processes().into_iter();
    let mut named = processes.filter(|pid| process::name(*pid) == name).peekable();
    named.peek().is_some() && named.all(|pid| jdk::takes_eagain(&process::folder(pid)))
}
