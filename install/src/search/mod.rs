//! Every order in which processes can take their steps on one node: install, uninstall and watch as
//! they are, with primaries and other installers beside them, each killed after any step. At every
//! moment each list that a runtime could read is one that it can run.

mod actors;
mod model;
mod node;
mod then;

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use model::{History, Process, Stop};
use node::{Node, Plugin};

/// A program, by what it does at its turns.
pub type Program = Box<dyn Fn(&Process)>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Runs(History),
    Ended,
    Killed,
}

struct Search {
    programs: Vec<(&'static str, Program)>,
    /// How many may be killed.
    kills: usize,
    /// Whether the node is also looked at when nobody can go on.
    ends: bool,
    seen: HashSet<u64>,
    path: Vec<String>,
    /// What is wrong, and the steps that lead there.
    found: Option<String>,
}

/// How many states there are, or what is wrong in one of them.
pub fn search(
    node: Node,
    programs: Vec<(&'static str, Program)>,
    kills: usize,
    ends: bool,
) -> Result<usize, String> {
    let states = programs.iter().map(|_| State::Runs(History::default())).collect();
    let (seen, path) = (HashSet::new(), Vec::new());
    let mut search = Search { programs, kills, ends, seen, path, found: None };
    search.visit(&node, states, 0);
    match search.found {
        Some(found) => Err(found),
        None => Ok(search.seen.len()),
    }
}

impl Search {
    fn visit(&mut self, node: &Node, states: Vec<State>, killed: usize) {
        let mut hasher = DefaultHasher::new();
        (node, &states).hash(&mut hasher);
        if !self.seen.insert(hasher.finish()) {
            return;
        }
        if let Some(list) = node.broken() {
            return self.wrong(&format!("{} names a plugin that cannot run", list.display()));
        }
        if node.renamed > 0 && !node.files.values().any(|text| text.contains(actors::NEWER)) {
            return self.wrong("the primary's newer list is lost");
        }
        let mut is_stuck = true;
        for (index, state) in states.iter().enumerate() {
            let State::Runs(history) = state else { continue };
            let process = Process::new(index, node.clone(), history.clone());
            let program = &self.programs[index].1;
            let stopped = catch_unwind(AssertUnwindSafe(|| program(&process)));
            let (done, after, history) = process.ended();
            let next = match stopped.map_err(|stop| stop.downcast::<Stop>()) {
                Ok(()) => State::Ended,
                Err(Ok(stop)) if matches!(*stop, Stop::Blocked) && done.is_none() => continue,
                Err(Ok(_)) => State::Runs(history),
                Err(Err(panic)) => resume_unwind(panic),
            };
            is_stuck = false;
            let done = done.unwrap_or_else(|| "end".into());
            self.path.push(format!("{}: {done}", self.programs[index].0));
            let with = |next| {
                let mut states = states.clone();
                states[index] = next;
                states
            };
            let is_over = next == State::Ended;
            self.visit(&after, with(next), killed);
            if !is_over && killed < self.kills && !self.is_foreign(index) {
                let mut after = after;
                after.holder = after.holder.filter(|holder| *holder != index);
                self.path.push(format!("{}: is killed", self.programs[index].0));
                self.visit(&after, with(State::Killed), killed + 1);
                self.path.pop();
            }
            self.path.pop();
            if self.found.is_some() {
                return;
            }
        }
        if is_stuck && self.ends {
            self.end(node, &states);
        }
    }

    fn is_foreign(&self, index: usize) -> bool {
        self.programs[index].0.starts_with("foreign")
    }

    /// Nobody can go on.
    fn end(&mut self, node: &Node, states: &[State]) {
        let is_left = node.plugin != Plugin::Missing || node.pins || node.lock_file;
        if states.iter().any(|state| matches!(state, State::Runs(_))) {
            self.wrong("somebody waits for ever");
        } else if node.claim.is_none() && is_left {
            self.wrong(&format!("uninstalled, and yet there is {node:?}"));
        } else if node.is_claimed() && node.installed.is_some_and(|it| it != node.version) {
            self.wrong(&format!("another version than was installed last: {node:?}"));
        } else if node.is_claimed()
            && !states.contains(&State::Killed)
            && !(node.plugin == Plugin::Runs && node.pins)
        {
            self.wrong(&format!("installed, and yet there is only {node:?}"));
        }
    }

    fn wrong(&mut self, what: &str) {
        self.found.get_or_insert_with(|| format!("{what}:\n{}", self.path.join("\n")));
    }
}
