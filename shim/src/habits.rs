//! What is known of programs: the habits map, as user space reads and seeds it.

use std::{collections::BTreeSet, path::Path};

use anyhow::Context as _;
use aya::maps::{Array, HashMap, MapData, MapError};

use crate::{
    bpf,
    datapath::gone,
    layout::{BadSigns, Cookie, Habit, MAX_PROGRAM, PodId, Program, Watched, name, padded},
    load,
};

/// A program that is trusted by name.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    pub name: [u8; MAX_PROGRAM],
    /// In blocking mode too, where it waits in epoll, poll or select.
    pub polls: bool,
}

pub struct Habits {
    known: HashMap<MapData, Program, Habit>,
    watched: HashMap<MapData, Cookie, Watched>,
    changes: Array<MapData, u64>,
}

/// Programs that read on after a full buffer only if FIONREAD says that there is more: where the kernel
/// counts wrong, they would wait for ever, and the sign comes late.
const ASK_FIONREAD: [&[u8]; 3] = [b"nginx", b"openresty", b"angie"];

impl Habits {
    /// Of what is pinned in a layout's folder.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            known: load::map(folder, name::HABITS)?.try_into().context(name::HABITS)?,
            watched: load::map(folder, name::WATCHED)?.try_into().context(name::WATCHED)?,
            changes: load::map(folder, name::CHANGES)?.try_into().context(name::CHANGES)?,
        })
    }

    pub fn all(&self) -> anyhow::Result<Vec<(Program, Habit)>> {
        bpf::entries(&self.known).context(name::HABITS)
    }

    /// Programs of that name whose sockets sleep in recv(2), and that are not known to take EAGAIN there.
    pub fn sleepers(&self, process: [u8; MAX_PROGRAM]) -> anyhow::Result<Vec<Program>> {
        let is_one = |habit: Habit| habit.sleeper == process && habit.tolerant == 0;
        let sleepers = bpf::pick(&self.known, |program, habit| is_one(habit).then_some(program));
        sleepers.context(name::HABITS)
    }

    /// Trusts what a program of this name connects, in a pod.
    pub fn name(&mut self, pod: PodId, named: Named) -> anyhow::Result<()> {
        let Named { name, polls } = named;
        self.trust(Program { pod, name, ..Program::default() }, polls)?;
        if polls {
            self.trust(Program { pod, name, blocking: 1, ..Program::default() }, polls)?;
        }
        Ok(())
    }

    /// Leaves what is known to ask FIONREAD to TCP, in a pod.
    pub fn bar_who_asks(&mut self, pod: PodId) -> anyhow::Result<()> {
        let bad = BadSigns { fionread: 1, ..BadSigns::default() };
        for name in ASK_FIONREAD.into_iter().filter_map(padded::<MAX_PROGRAM>) {
            for blocking in [0, 1] {
                let program = Program { pod, name, blocking, ..Program::default() };
                let known = self.known.insert(program, Habit { bad, ..Habit::default() }, 0);
                known.context(name::HABITS)?;
            }
        }
        Ok(())
    }

    /// Trusts what is accepted on a port, if the process that listens there is called as one that is
    /// trusted by name.
    pub fn name_port(
        &mut self,
        pod: PodId,
        name: [u8; MAX_PROGRAM],
        port: u16,
    ) -> anyhow::Result<()> {
        let connects = Program { pod, name, ..Program::default() };
        match self.known.get(&connects, 0) {
            Ok(habit) if habit.named != 0 => {
                self.trust(Program { pod, port, ..Program::default() }, habit.polls != 0)
            }
            Ok(_) | Err(MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(error).context(name::HABITS),
        }
    }

    fn trust(&mut self, program: Program, polls: bool) -> anyhow::Result<()> {
        let habit = match self.known.get(&program, 0) {
            Err(MapError::KeyNotFound) => Habit::default(),
            known => known.context(name::HABITS)?,
        };
        let habit = Habit { trusted: Habit::NAMED, named: 1, polls: polls.into(), ..habit };
        self.known.insert(program, habit, 0).context(name::HABITS)
    }

    /// A program takes EAGAIN for "try again" where it sleeps in recv(2): its sockets may be handed bytes,
    /// from its next connection on.
    pub fn tolerates(&mut self, program: &Program) -> anyhow::Result<()> {
        let habit = self.known.get(program, 0).context(name::HABITS)?;
        self.known.insert(program, Habit { tolerant: 1, ..habit }, 0).context(name::HABITS)
    }

    /// Forgets the programs of these pods, for which it reads all of the map.
    pub fn forget(&mut self, pods: &BTreeSet<PodId>) -> anyhow::Result<()> {
        let is_theirs = |program: Program, _| pods.contains(&program.pod).then_some(program);
        let programs = bpf::pick(&self.known, is_theirs);
        for program in programs.context(name::HABITS)? {
            gone(self.known.remove(&program)).context(name::HABITS)?;
        }
        Ok(())
    }

    /// Forgets the sockets of these pods: of those that end from here on nobody is told. Who hands bytes to them
    /// looks again, and finds nobody.
    pub fn forget_sockets(&mut self, pods: &BTreeSet<PodId>) -> anyhow::Result<()> {
        let is_theirs =
            |cookie, watched: Watched| pods.contains(&watched.program.pod).then_some(cookie);
        for cookie in bpf::pick(&self.watched, is_theirs).context(name::WATCHED)? {
            gone(self.watched.remove(&cookie)).context(name::WATCHED)?;
        }
        self.changed()
    }

    /// Sockets look up again what is known of their pods and programs.
    pub fn changed(&mut self) -> anyhow::Result<()> {
        let changes = self.changes.get(&0, 0).context(name::CHANGES)?;
        // Far, as programs that add one at the same time may lose this, or that.
        self.changes.set(0, changes.wrapping_add(1 << 32), 0).context(name::CHANGES)
    }
}
