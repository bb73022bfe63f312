//! `watch`: keeps shunt where `install` put it, and tells what it does.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    net::SocketAddr,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        inotify::{AddWatchFlags, InitFlags, Inotify},
        signal::{SigSet, Signal},
        signalfd::SignalFd,
    },
};
use serde_json::Value;
use shim::lock::Lock;

use crate::{
    binary::{self, Binary},
    change::{Change, Replaced},
    claim::Claim,
    conflist::{Conf, SHUNT, entries},
    entry::Entry,
    metrics::{self, Shared},
    net_d::{self, Unready},
    output::{Exit, Output},
    paths::{Cni, Datapath},
    rewrites::Rewrites,
};

/// How long somebody may write into a file that was replaced meanwhile, and how often to look.
const ORPHANED: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(100);
/// What a folder that is not there is looked for in vain.
const NO_FOLDER: Duration = Duration::from_secs(1);

/// Keep shunt on this node until SIGTERM: its binary, and its entry where a primary rewrites its list
#[derive(clap::Args)]
pub struct Watch {
    #[command(flatten)]
    cni: Cni,
    #[command(flatten)]
    datapath: Datapath,
    #[command(flatten)]
    binary: Binary,
    #[command(flatten)]
    entry: Entry,
    /// Serve /metrics and /healthz here [default: nowhere]
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    /// How often to forget what belongs to pods that are gone
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    sweep: Duration,
}

impl Watch {
    pub fn run(self, _: Output) -> Result<Exit> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTERM);
        signals.add(Signal::SIGINT);
        // Before there are threads, which inherit it.
        signals.thread_block()?;
        let signals = SignalFd::new(&signals)?;
        let source = self.binary.path()?;
        let entry = self.entry.value(&self.datapath)?;
        binary::check_entry(&source, &entry)?;
        let state = Shared::default();
        if let Some(address) = self.metrics {
            let pins = self.datapath.pin_path.clone();
            metrics::start(address, state.clone(), pins)
                .with_context(|| format!("cannot serve on {address}"))?;
        }
        drop(Claim::stake(&self.datapath.lock_file)?);
        let mut keeper = Keeper {
            inotify: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?,
            spoken: binary::versions(&source)?,
            swept: Instant::now(),
            cni: self.cni,
            datapath: self.datapath,
            sweep: self.sweep,
            source,
            entry,
            state,
            rewrites: HashMap::new(),
            replaced: Vec::new(),
            known_binary: None,
            told: None,
        };
        loop {
            // Before looking: what happens from here on wakes it again.
            keeper.forget_events()?;
            let pause = keeper.keep();
            let timeout = PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX);
            let fds = &mut [
                PollFd::new(keeper.inotify.as_fd(), PollFlags::POLLIN),
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(fds, timeout) {
                Err(Errno::EINTR) => {}
                done => drop(done?),
            }
            if fds[1].any() == Some(true) {
                return Ok(Exit::Done);
            }
        }
    }
}

struct Keeper {
    cni: Cni,
    datapath: Datapath,
    sweep: Duration,
    source: PathBuf,
    spoken: Vec<String>,
    /// The one that was last seen, or is wanted.
    entry: Value,
    inotify: Inotify,
    state: Shared,
    swept: Instant,
    rewrites: HashMap<PathBuf, Rewrites>,
    replaced: Vec<(Instant, Replaced)>,
    /// What tells that the binary in its place is still the one that was compared.
    known_binary: Option<[i64; 5]>,
    /// The last trouble that was logged.
    told: Option<String>,
}

impl Keeper {
    fn forget_events(&self) -> Result<()> {
        loop {
            match self.inotify.read_events() {
                Err(Errno::EAGAIN) => return Ok(()),
                events => drop(events?),
            }
        }
    }

    /// Puts right what is not, and says when to look again if nothing happens.
    fn keep(&mut self) -> Duration {
        let mut pause = self.sweep;
        let trouble = match Claim::take(&self.datapath.lock_file) {
            Ok(None) => Some("shunt was uninstalled; nothing is kept any more".to_owned()),
            Ok(Some(_claim)) => match self.keep_claimed(&mut pause) {
                Ok(()) => None,
                Err(error) => Some(format!("{error:#}")),
            },
            Err(error) => Some(format!("{error:#}")),
        };
        if let Some(trouble) = trouble.as_ref().filter(|_| trouble != self.told) {
            log::warn!("{trouble}");
        }
        self.told.clone_from(&trouble);
        metrics::with(&self.state, |state| state.trouble = trouble);
        pause
    }

    fn keep_claimed(&mut self, pause: &mut Duration) -> Result<()> {
        if self.swept.elapsed() >= self.sweep {
            self.swept = Instant::now();
            if let Err(error) = self.forget_pods() {
                log::warn!("cannot sweep: {error:#}");
            }
        }
        for folder in [&self.cni.net_dir, &self.cni.bin_dir] {
            if !self.listen(folder) {
                *pause = NO_FOLDER.min(*pause);
            }
        }
        self.keep_binary()?;
        self.look_after_replaced()?;
        let kept = self.keep_entry(pause);
        if !self.replaced.is_empty() {
            *pause = LOOK.min(*pause);
        }
        kept
    }

    /// Again is no harm: the kernel knows the folder by its inode.
    fn listen(&self, folder: &Path) -> bool {
        let what = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        self.inotify.add_watch(folder, what).is_ok()
    }

    fn keep_binary(&mut self) -> Result<()> {
        let look = || {
            let file = fs::metadata(self.cni.bin_dir.join(SHUNT)).ok()?;
            let times = [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()];
            Some([file.ino() as i64, times[0], times[1], times[2], times[3]])
        };
        if look().is_some() && look() == self.known_binary {
            return Ok(());
        }
        if binary::place(&self.source, &self.cni.bin_dir)? {
            log::info!("{SHUNT} was not in {}; put back", self.cni.bin_dir.display());
            metrics::with(&self.state, |state| state.restored += 1);
        }
        self.known_binary = look();
        Ok(())
    }

    fn keep_entry(&mut self, pause: &mut Duration) -> Result<()> {
        let plan = match net_d::install(&self.cni.net_dir, &self.entry, true, &self.spoken) {
            Err(error @ Unready::Unusable { .. }) => {
                // Half written: its writer will close it.
                return Err(error.into());
            }
            plan => plan?,
        };
        self.remember(&plan.primary);
        let mut trouble = Ok(());
        for change in plan.changes {
            let now = Instant::now();
            let rewrites = self.rewrites.entry(change.path.clone()).or_default();
            let known = rewrites.count;
            let due = rewrites.due(now);
            let (path, count, waits) = (change.path.display(), rewrites.count, rewrites.pause());
            if rewrites.is_fight() && count > known {
                log::warn!(
                    "{path} is rewritten whenever shunt's entry is back, {count} times so far; waiting {waits:?}"
                );
            }
            if due > now {
                *pause = (due - now).min(*pause);
                trouble = Err(anyhow::anyhow!("{path} lacks shunt's entry"));
                continue;
            }
            match change.make() {
                Ok(replaced) => {
                    rewrites.put_back(now);
                    log::info!("{path} was without shunt's entry; put back ({count} times so far)");
                    self.replaced.extend(replaced.map(|replaced| (now, replaced)));
                    metrics::with(&self.state, |state| state.put_back += 1);
                }
                Err(error) => {
                    *pause = LOOK.min(*pause);
                    trouble = Err(error);
                }
            }
        }
        trouble
    }

    /// What is to be put back is what was there, and where else a list's plugins are.
    fn remember(&mut self, primary: &Path) {
        let Ok(text) = fs::read_to_string(primary) else { return };
        if let Some(entry) = entries(&text).ok().and_then(|mut entries| entries.pop()) {
            self.entry = entry;
        }
        if let Ok(list) = Conf::parse(&text)
            && !list.name.is_empty()
            && Path::new(&list.name).file_name() == Some(OsStr::new(&list.name))
        {
            self.listen(&self.cni.net_dir.join(&list.name));
        }
    }

    /// Who truncates and copies, opens the file and then writes. If the entry was put back in
    /// between, what was written is in a file without a name: it is what should be there.
    fn look_after_replaced(&mut self) -> Result<()> {
        let mut kept = Vec::new();
        for (since, replaced) in std::mem::take(&mut self.replaced) {
            let text = String::from_utf8(replaced.read()?).unwrap_or_default();
            if replaced.was_written()? && Conf::parse(&text).is_ok() {
                let path = replaced.path.clone();
                log::info!("{} was being written when shunt's entry was put back", path.display());
                let before = fs::read_to_string(&path).ok();
                let change = Change { like: path.clone(), path, before, after: Some(text) };
                change.make()?;
            } else if since.elapsed() < ORPHANED {
                kept.push((since, replaced));
            }
        }
        self.replaced = kept;
        Ok(())
    }

    fn forget_pods(&self) -> Result<()> {
        // Whoever holds it sweeps too.
        let Ok(_lock) = Lock::take(&self.datapath.lock_file, Duration::ZERO) else { return Ok(()) };
        let datapath = shim::datapath::Datapath::open(&self.datapath.pin_path)?;
        let Some(mut datapath) = datapath else { return Ok(()) };
        metrics::with(&self.state, |state| state.observe(&datapath))?;
        datapath.sweep()
    }
}
