//! What is known of programs, for `status --programs`.

use std::{collections::HashMap, fmt};

use serde::Serialize;
use shim::{
    datapath::Datapath,
    layout::{BadSigns, Distrust, Habit, PodId, Policy, Trust, Waits, Watch, text},
};

use crate::pods;

/// The sockets that a pod accepts on one port, or that one program of it connects.
#[derive(Debug, Serialize)]
pub struct Known {
    pod: String,
    /// The program that connects, or the port that is listened on.
    program: String,
    connections: u32,
    waits: Waits,
    bad: BadSigns,
    trusted: bool,
    why: &'static str,
    /// What an operator can do so that it takes part.
    todo: Option<&'static str>,
}

pub fn of_node(datapath: &mut Datapath) -> anyhow::Result<Vec<Known>> {
    let names = pods::names(datapath)?;
    let is_watched = datapath.node()?.watch != Watch::Names as u64;
    let policies: HashMap<PodId, Policy> =
        datapath.pods()?.into_iter().map(|(id, pod)| (id, pod.policy)).collect();
    let mut known: Vec<_> = datapath
        .habits()
        .all()?
        .into_iter()
        // Those that are trusted by name and were never there say nothing.
        .filter(|(_, habit)| habit.connections > 0)
        .filter_map(|(program, habit)| {
            let (why, todo) =
                judge(&habit, policies.get(&program.pod)?, is_watched, program.blocking == 1);
            let mode = if program.blocking == 1 { ", blocking" } else { "" };
            Some(Known {
                pod: names.get(&program.pod).cloned().unwrap_or_default(),
                program: match program.port {
                    0 => format!("connects: {}{mode}", text(&program.name)),
                    port => format!("accepts at {port}"),
                },
                connections: habit.connections,
                waits: habit.waits,
                bad: habit.bad,
                trusted: habit.judge(policies.get(&program.pod)?).is_ok(),
                why,
                todo,
            })
        })
        .collect();
    known.sort_by(|a, b| (&a.pod, &a.program).cmp(&(&b.pod, &b.program)));
    Ok(known)
}

fn judge(
    habit: &Habit,
    policy: &Policy,
    is_watched: bool,
    is_blocking: bool,
) -> (&'static str, Option<&'static str>) {
    match habit.judge(policy) {
        Ok(_) if habit.trusted == Habit::NAMED => ("trusted by name", None),
        Ok(Trust::NonBlocking) if habit.waits.sleeps > 0 => {
            ("trusted, but for its sockets in blocking mode, as some slept in recv(2)", None)
        }
        Ok(_) => ("trusted", None),
        Err(Distrust::NotKnownYet) if is_watched => {
            ("not known yet", Some("wait until it has answered eight requests, or more"))
        }
        Err(Distrust::NotKnownYet) if is_blocking => (
            "not known",
            Some(
                "this kernel lets no program be watched: if it waits in epoll, poll or select, and never in recv(2), \
                 name it in pollingPrograms, by what /proc/PID/comm says",
            ),
        ),
        Err(Distrust::NotKnownYet) => (
            "not known",
            Some(
                "this kernel lets no program be watched: name it in trustedPrograms, by what \
                 /proc/PID/comm says",
            ),
        ),
        Err(Distrust::Sleeps) => (
            "sleeps in recv(2)",
            Some("shunt/blocking: \"on\" if it takes EAGAIN there for \"try again\""),
        ),
        Err(Distrust::Splices) => ("reads by splice(2)", None),
        Err(Distrust::CountsUnread) => {
            ("asks FIONREAD", Some("a kernel that counts right there: see docs/kernels.md"))
        }
        Err(Distrust::WaitsForAll) => ("reads with MSG_WAITALL", None),
        Err(Distrust::ZeroCopy) => ("sends without copies", None),
        Err(Distrust::Batches) => {
            ("sends several messages by one call, or uses io_uring unseen", None)
        }
    }
}

fn waits(waits: &Waits) -> String {
    let Waits { nonblocking, polls, sleeps, switches } = *waits;
    let seen = [
        (nonblocking, "non-blocking"),
        (polls, "polls"),
        (sleeps, "sleeps"),
        (switches, "switches"),
    ];
    let seen: Vec<_> =
        seen.into_iter().filter(|(count, _)| *count > 0).map(|(_, how)| how).collect();
    if seen.is_empty() { "-".to_owned() } else { seen.join(", ") }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (connections, waits) = (self.connections, waits(&self.waits));
        write!(
            f,
            "{} {}: {}; {connections} connections, waits: {waits}",
            self.pod, self.program, self.why
        )?;
        self.todo.iter().try_for_each(|todo| write!(f, "; {todo}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sleeps_on_some_sockets_is_not_told_to_be_trusted_with_all() {
        let waits = Waits { nonblocking: 1, ..Waits::default() };
        let never_blocks = Habit { trusted: Habit::LEARNED, waits, ..Habit::default() };
        let sleeps = Habit { waits: Waits { sleeps: 1, ..waits }, ..never_blocks };
        let told = |habit| judge(habit, &Policy::default(), true, false).0;
        assert_eq!(told(&never_blocks), "trusted");
        assert!(told(&sleeps).contains("but for its sockets in blocking mode"));
    }
}
