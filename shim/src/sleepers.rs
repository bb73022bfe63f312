//! Programs that sleep in recv(2) and are known to lose nothing by EAGAIN there.

use std::path::Path;

use crate::{
    cgroup::{Cgroup, PodCgroup},
    habits::Habits,
    jdk,
    layout::{PodId, Program, is_namespace, padded},
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
        let processes = pod.map(PodCgroup::processes).unwrap_or_default().into_iter();
        processes.filter(|pid| process::name(*pid) == java).collect::<Vec<_>>()
    };
    let by_namespace = sleepers.iter().any(|program| is_namespace(program.pod));
    let known = if by_namespace { process::named(java) } else { Vec::new() };
    let of_namespace = |id: PodId| {
        let theirs = known.iter().filter(|(namespace, _)| *namespace == id);
        theirs.map(|(_, pid)| *pid).collect::<Vec<_>>()
    };
    sleepers.retain(|&Program { pod, .. }| {
        // All of that name; there is one.
        let processes = if is_namespace(pod) { of_namespace(pod) } else { of_cgroup(pod) };
        let take_eagain = |pid: &i32| jdk::takes_eagain(&process::folder(*pid));
        !processes.is_empty() && processes.iter().all(take_eagain)
    });
    for program in &sleepers {
        habits.tolerates(program)?;
    }
    Ok(sleepers.len())
}
