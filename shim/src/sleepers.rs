//! Programs that sleep in recv(2) and are known to lose nothing by EAGAIN there.

use std::path::Path;

use crate::{
    cgroup::{Cgroup, PodCgroup},
    habits::Habits,
    jdk,
    layout::{MAX_PROGRAM, PodId, Program, is_namespace, padded},
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
    let of_cgroup = |id: PodId| {
        let pod = pods.iter().find(|pod| Cgroup::open(&pod.path).is_ok_and(|it| it.id == id));
        pod.map(PodCgroup::processes).unwrap_or_default()
    };
    sleepers.retain(|&Program { pod, .. }| {
        let by_namespace = is_namespace(pod);
        let processes = if by_namespace { process::in_namespace(pod) } else { of_cgroup(pod) };
        all_take_eagain(&processes, java)
    });
    for program in &sleepers {
        habits.tolerates(program)?;
    }
    Ok(sleepers.len())
}

/// All processes of that name; there is one.
fn all_take_eagain(processes: &[i32], name: [u8; MAX_PROGRAM]) -> bool {
    let mut named = processes.iter().filter(|pid| process::name(**pid) == name).peekable();
    named.peek().is_some() && named.all(|pid| jdk::takes_eagain(&process::folder(*pid)))
}
