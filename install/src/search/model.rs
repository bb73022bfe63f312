//! One process at work on a node. A process is the real code of a command: it runs
//! up to its next step, is told what it was told before, and ends by unwinding where it has to wait for
//! its turn.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    panic::resume_unwind,
    path::{Path, PathBuf},
    rc::Rc,
    sync::LazyLock,
    thread::panicking,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use serde_json::Value;
use shim::refusal::Refusal;

use super::node::{NET_D, Node, Plugin};
use crate::{
    change::{Change, Replaced},
    claim::{Claimed, Purpose},
    drain::{Left, Patience},
    entry::Wanted,
    replace::ANOTHER,
    world::{Files, Found, Kind, Part, World},
};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What a step told its process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Reply {
    Found(Vec<Found>),
    Bytes(Option<Vec<u8>>),
    Claimed(Claimed<()>),
    Dirs(BTreeSet<&'static str>),
    Yes(bool),
    /// Which file it is.
    Seen(u8),
    Rested,
    Done,
    Failed(&'static str),
}

/// All that a process was told so far, which is all that it knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct History(Vec<Reply>);

/// Why a process does not go on.
pub enum Stop {
    /// It had its turn.
    Turn,
    /// What it waits for has not happened.
    Blocked,
}

struct Turn {
    process: usize,
    /// Of shunt.
    version: u8,
    net_dir: &'static str,
    node: Node,
    history: History,
    at: usize,
    /// What it did in this turn.
    done: Option<String>,
}

/// One process at its turn.
#[derive(Clone)]
pub struct Process(Rc<RefCell<Turn>>);

pub struct Held(Process, Purpose);

impl Drop for Held {
    /// What was let go in an earlier turn is not let go again.
    fn drop(&mut self) {
        let mut turn = self.0.0.borrow_mut();
        if !panicking() && turn.at == turn.history.0.len() && turn.node.holder == Some(turn.process)
        {
            turn.node.holder = None;
        }
    }
}

impl Process {
    pub fn new(process: usize, node: Node, history: History) -> Self {
        let turn = Turn { process, version: 0, net_dir: NET_D, node, history, at: 0, done: None };
        Self(Rc::new(RefCell::new(turn)))
    }

    pub fn be_version(&self, version: u8) {
        self.0.borrow_mut().version = version;
    }

    pub fn be_at(&self, net_dir: &'static str) {
        self.0.borrow_mut().net_dir = net_dir;
    }

    pub fn net_dir(&self) -> &'static str {
        self.0.borrow().net_dir
    }

    /// What it did, and what the node is now.
    pub fn ended(self) -> (Option<String>, Node, History) {
        let turn = self.0.borrow();
        (turn.done.clone(), turn.node.clone(), turn.history.clone())
    }

    /// None: it has to wait.
    fn step(
        &self,
        what: impl FnOnce() -> String,
        act: impl FnOnce(&mut Node, usize) -> Option<Reply>,
    ) -> Reply {
        let stop = {
            let turn = &mut *self.0.borrow_mut();
            turn.at += 1;
            if let Some(told) = turn.history.0.get(turn.at - 1) {
                return told.clone();
            }
            match turn.done {
                Some(_) => Stop::Turn,
                None => match act(&mut turn.node, turn.process) {
                    Some(reply) => {
                        turn.done = Some(what());
                        turn.history.0.push(reply.clone());
                        return reply;
                    }
                    None => Stop::Blocked,
                },
            }
        };
        resume_unwind(Box::new(stop))
    }

    /// A step of somebody who is not shunt.
    pub fn foreign(&self, what: &str, act: impl FnOnce(&mut Node, usize)) {
        self.step(
            || what.to_owned(),
            |node, process| {
                act(node, process);
                Some(Reply::Done)
            },
        );
    }

    pub fn foreign_read(&self, path: &Path) -> Option<String> {
        let read = self.step(
            || format!("read {}", path.display()),
            |node, process| {
                node.reading.insert(process);
                Some(Reply::Bytes(node.files.get(path).map(|text| text.clone().into_bytes())))
            },
        );
        let Reply::Bytes(bytes) = read else { unreachable!() };
        bytes.and_then(|bytes| String::from_utf8(bytes).ok())
    }

    fn change(&self, what: String, act: impl FnOnce(&mut Node)) {
        self.step(
            || what,
            |node, _| {
                act(node);
                Some(Reply::Done)
            },
        );
    }
}

impl Files for Process {
    fn list(&self, folder: &Path) -> Result<Vec<Found>> {
        let reply = self.step(
            || format!("list {}", folder.display()),
            |node, _| {
                let below = node.files.keys().filter_map(|path| path.strip_prefix(folder).ok());
                let found = below.filter_map(|below| {
                    let mut parts = below.components();
                    let path = folder.join(parts.next()?);
                    let kind = if parts.next().is_some() { Kind::Folder } else { Kind::File };
                    Some(Found { path, kind })
                });
                let found: BTreeSet<_> = found.collect();
                Some(Reply::Found(found.into_iter().collect()))
            },
        );
        let Reply::Found(found) = reply else { unreachable!() };
        Ok(found)
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        let reply = self.step(
            || format!("read {}", path.display()),
            |node, _| {
                Some(Reply::Bytes(node.files.get(path).map(|text| text.clone().into_bytes())))
            },
        );
        let Reply::Bytes(bytes) = reply else { unreachable!() };
        Ok(bytes)
    }

    fn has(&self, _: &Path) -> bool {
        true
    }
}

impl World for Process {
    type Claim = Held;

    fn claim(&self, purpose: Purpose) -> Result<Claimed<Held>> {
        let net_dir = self.net_dir();
        let reply = self.step(
            || format!("claim: {purpose:?}"),
            |node, process| {
                if node.holder.is_some() {
                    return (purpose == Purpose::Keep).then_some(Reply::Claimed(Claimed::Busy));
                }
                if matches!(purpose, Purpose::Install | Purpose::Leave) {
                    let dirs = node.claim.get_or_insert_default();
                    dirs.extend(&node.net_dirs);
                    match purpose {
                        Purpose::Install => dirs.insert(net_dir),
                        _ => dirs.remove(net_dir),
                    };
                } else if !node.claim.as_ref().is_some_and(|dirs| dirs.contains(net_dir)) {
                    return Some(Reply::Claimed(Claimed::Unwanted));
                }
                node.holder = Some(process);
                Some(Reply::Claimed(Claimed::Held(())))
            },
        );
        let Reply::Claimed(claimed) = reply else { unreachable!() };
        Ok(match claimed {
            Claimed::Held(()) => Claimed::Held(Held(self.clone(), purpose)),
            Claimed::Unwanted => Claimed::Unwanted,
            Claimed::Busy => Claimed::Busy,
        })
    }

    fn give_up(&self, _claim: Held) -> Result<()> {
        self.change("give the claim up".into(), |node| node.claim = None);
        Ok(())
    }

    fn load(&self, _: &Wanted) -> Result<(), Refusal> {
        self.change("load".into(), |node| (node.pins, node.lock_file) = (true, true));
        Ok(())
    }

    fn others(&self, _: &Held) -> Result<BTreeSet<PathBuf>> {
        let reply = self.step(
            || "look who else is here".into(),
            |node, _| {
                let claimed = node.claim.iter().flatten().copied();
                Some(Reply::Dirs(claimed.chain(node.net_dirs.iter().copied()).collect()))
            },
        );
        let Reply::Dirs(mut dirs) = reply else { unreachable!() };
        dirs.remove(self.net_dir());
        Ok(dirs.into_iter().map(PathBuf::from).collect())
    }

    fn remember(&self, _: &Held) -> Result<()> {
        let net_dir = self.net_dir();
        self.change("remember".into(), |node| {
            node.net_dirs.extend(node.claim.iter().flatten());
            node.net_dirs.insert(net_dir);
        });
        Ok(())
    }

    fn forget(&self, _: &Held) -> Result<()> {
        let net_dir = self.net_dir();
        self.change("forget".into(), |node| {
            node.net_dirs.remove(net_dir);
        });
        Ok(())
    }

    fn place(&self, held: &Held) -> Result<bool> {
        let version = self.0.borrow().version;
        let reply = self.step(
            || "place the plugin".into(),
            |node, _| {
                let is_anothers =
                    held.1 == Purpose::Keep && node.installed.is_some_and(|last| last != version);
                if is_anothers && node.plugin == Plugin::Runs {
                    return Some(Reply::Yes(false));
                }
                if !is_anothers {
                    node.installed = Some(version);
                }
                node.version = version;
                let there = std::mem::replace(&mut node.plugin, Plugin::Runs);
                Some(Reply::Yes(there != Plugin::Runs))
            },
        );
        Ok(reply == Reply::Yes(true))
    }

    fn check(&self, _: &Value) -> Result<()> {
        Ok(())
    }

    /// As really done: a last look, and then the change, which sees which file comes out.
    fn make(&self, change: &Change) -> Result<Option<Replaced>> {
        let name = change.path.display();
        let looked = self.step(
            || format!("look at {name}"),
            |node, _| {
                let same = node.files.get(&change.path) == change.before.as_ref();
                Some(if same { Reply::Seen(node.renamed) } else { Reply::Failed(ANOTHER) })
            },
        );
        let made = self.step(
            || format!("change {name}"),
            |node, _| {
                if looked != Reply::Seen(node.renamed) {
                    return Some(Reply::Failed(ANOTHER));
                }
                drop(match &change.after {
                    Some(after) => node.files.insert(change.path.clone(), after.clone()),
                    None => node.files.remove(&change.path),
                });
                Some(Reply::Done)
            },
        );
        match made {
            Reply::Failed(why) => Err(anyhow!(why)),
            _ => Ok(None),
        }
    }

    fn drain(&self, _: Patience) -> Result<Left> {
        self.change("drain".into(), |_| ());
        Ok(Left::default())
    }

    fn remove(&self, part: Part) -> Result<()> {
        self.change(format!("remove {part:?}"), |node| match part {
            Part::Binary => (node.plugin, node.installed) = (Plugin::Missing, None),
            Part::NetDirs => node.net_dirs.clear(),
            Part::Pins => node.pins = false,
            Part::LockFile => node.lock_file = false,
            Part::Unfinished => {}
        });
        Ok(())
    }

    fn path_of(&self, part: Part) -> PathBuf {
        match part {
            Part::Pins => shim::paths::PINS.into(),
            Part::LockFile => shim::paths::LOCK.into(),
            part => format!("/{part:?}").into(),
        }
    }

    /// Only told, never decided by.
    fn is_there(&self, _: Part) -> bool {
        true
    }

    /// Whoever reads a list and writes it back is done within uninstall's `--settle`.
    fn rest(&self, pause: Duration) {
        self.step(
            || format!("rest {pause:?}"),
            |node, _| (pause < SETTLE || node.reading.is_empty()).then_some(Reply::Rested),
        );
    }

    fn now(&self) -> Instant {
        let turn = self.0.borrow();
        let rests = turn.history.0[..turn.at].iter().filter(|told| **told == Reply::Rested).count();
        *START + Duration::from_millis(200) * rests as u32
    }
}

pub const SETTLE: Duration = Duration::from_secs(5);
