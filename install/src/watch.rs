//! `watch`: keeps shunt where `install` put it, and tells what it does.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    net::SocketAddr,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        inotify::{AddWatchFlags, InitFlags, Inotify},
        signal::{SigSet, Signal},
        signalfd::SignalFd,
    },
};
use shim::{cgroup, datapath, habits::Habits, load, lock::Lock, pins, sleepers, sweep::Sweeper};

use crate::{
    binary::{self, Binary},
    claim::{self, Claimed, Purpose},
    entry::Entry,
    keeper::{Keeper, Kept},
    links,
    metrics::{self, Shared},
    output::{Exit, Output},
    paths::{Cni, Datapath},
    world::{Files as _, Host, Kind, Part, World as _},
};

/// How often to look where the kernel tells of nothing.
const DEAF: Duration = Duration::from_secs(1);
/// How often to look at who sleeps in recv(2).
const SLEEPERS: Duration = Duration::from_secs(5);
/// How long to wait for those who add and delete pods before they are left to sweep.
const BUSY: Duration = Duration::from_millis(200);

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
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = some_time)]
    sweep: Duration,
}

/// No time at all would be no rest.
fn some_time(text: &str) -> Result<Duration> {
    let time = humantime::parse_duration(text)?;
    ensure!(!time.is_zero(), "it has to be more than nothing");
    Ok(time)
}

impl Watch {
    pub fn run(self, _: Output) -> Result<Exit> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTERM);
        signals.add(Signal::SIGINT);
        // Before there are threads, which inherit it.
        signals.thread_block()?;
        let signals = SignalFd::new(&signals)?;
        self.datapath.check_lock()?;
        let path = self.binary.path()?;
        // It may be gone when it is needed: it can lie in its place itself.
        let held = File::open(&path).with_context(|| path.display().to_string())?;
        let source = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
        let wanted = self.entry.value(&self.datapath)?;
        binary::check_entry(&source, &wanted.entry)?;
        let spoken = binary::versions(&source)?;
        let state = Shared::default();
        metrics::with(&state, |state| state.trouble = Some("not looked yet".into()));
        if let Some(address) = self.metrics {
            metrics::start(address, state.clone(), self.datapath.clone())
                .with_context(|| format!("cannot serve on {address}"))?;
        }
        let cni = self.cni.clone();
        let reader = cni.reader(&spoken);
        let mut watcher = Watcher {
            host: Host { cni: self.cni, datapath: self.datapath, source },
            keeper: Keeper::new(wanted),
            sweep: self.sweep,
            swept: None,
            sweeper: None,
            asked: Instant::now(),
            ears: None,
            known_binary: None,
            told: None,
            state,
        };
        if let Claimed::Held(claim) = watcher.host.claim(Purpose::Install)? {
            drop(claim);
        }
        let Cni { net_dir, bin_dir, .. } = &cni;
        if !bin_dir.is_dir() {
            let advice = claim::advice(&watcher.host.datapath.lock_file, bin_dir);
            log::warn!("{} is not there; {advice}", bin_dir.display());
        }
        log::info!("keeps shunt in {} and {} until SIGTERM", net_dir.display(), bin_dir.display());
        loop {
            // Before looking: what happens from here on wakes it again.
            let most = SLEEPERS.min(self.sweep);
            let mut pause = if watcher.listen() { most } else { DEAF.min(most) };
            watcher.look(&reader, &mut pause);
            let timeout = PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX);
            let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            let ears = watcher.ears.as_ref().map(|(inotify, _)| inotify.as_fd());
            fds.extend(ears.map(|ears| PollFd::new(ears, PollFlags::POLLIN)));
            match poll(&mut fds, timeout) {
                Err(Errno::EINTR) => {}
                done => drop(done?),
            }
            if fds[0].any() == Some(true) {
                return Ok(Exit::Done);
            }
        }
    }
}

struct Watcher {
    host: Host,
    keeper: Keeper,
    sweep: Duration,
    swept: Option<Instant>,
    /// That ADD has no need to.
    sweeper: Option<Sweeper>,
    /// When who sleeps was last looked at.
    asked: Instant,
    /// What the kernel tells of, and of which folders.
    ears: Option<(Inotify, BTreeSet<PathBuf>)>,
    /// What tells that the binary in its place is still the one that was compared.
    known_binary: Option<[i64; 6]>,
    /// The last trouble that was logged.
    told: Option<String>,
    state: Shared,
}

impl Watcher {
    fn look(&mut self, reader: &crate::net_d::Reader, pause: &mut Duration) {
        if self.swept.is_none_or(|swept| swept.elapsed() >= self.sweep) {
            self.swept = Some(Instant::now());
            self.sweeper = self.forget_pods().unwrap_or_else(|error| {
                log::warn!("cannot sweep: {error:#}");
                None
            });
        }
        if self.asked.elapsed() >= SLEEPERS {
            self.asked = Instant::now();
            match self.look_at_sleepers() {
                Ok(0) => {}
                Ok(found) => log::info!("{found} programs sleep in recv(2) and take EAGAIN there"),
                Err(error) => log::warn!("cannot look at who sleeps in recv(2): {error:#}"),
            }
        }
        // As it is before it is compared: who changes it meanwhile is not taken for what was compared.
        let binary = self.binary();
        let is_known = binary.is_some() && binary == self.known_binary;
        let kept = self.keeper.keep(&self.host, reader, pause, !is_known);
        let trouble = match kept {
            Kept::Busy => return,
            Kept::Well => self.no_bpffs(),
            Kept::Trouble(trouble) => Some(trouble),
        };
        self.known_binary = binary.filter(|_| trouble.is_none());
        if let Some(trouble) = trouble.as_ref().filter(|_| trouble != self.told) {
            log::warn!("{trouble}");
        }
        self.told.clone_from(&trouble);
        metrics::with(&self.state, |state| {
            state.trouble = trouble;
            (state.put_back, state.restored) = (self.keeper.put_back, self.keeper.restored);
        });
    }

    fn binary(&self) -> Option<[i64; 6]> {
        let file = fs::metadata(self.host.path_of(Part::Binary)).ok()?;
        let times = [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()];
        Some([file.ino() as i64, file.dev() as i64, times[0], times[1], times[2], times[3]])
    }

    /// Hears from here on of every change of what counts. Whether it does.
    fn listen(&mut self) -> bool {
        let folders = self.folders();
        if let Some((inotify, known)) = &self.ears
            && *known == folders
        {
            // A folder may be another of the same name.
            let heard = folders.iter().all(|folder| hear(inotify, folder).is_ok());
            let forgotten = loop {
                match inotify.read_events() {
                    Ok(_) => {}
                    Err(errno) => break errno == Errno::EAGAIN,
                }
            };
            if heard && forgotten {
                return true;
            }
        }
        let listening =
            Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).and_then(|inotify| {
                folders.iter().try_for_each(|folder| hear(&inotify, folder))?;
                Ok((inotify, folders))
            });
        match listening {
            Ok(ears) => self.ears = Some(ears),
            Err(errno) => {
                if self.ears.take().is_some() || self.told.is_none() {
                    log::warn!("{}; looking each second", deaf(errno));
                }
                return false;
            }
        }
        true
    }

    /// Where what counts is, and the links that lead there.
    fn folders(&self) -> BTreeSet<PathBuf> {
        let Cni { net_dir, bin_dir, .. } = &self.host.cni;
        let mut folders = links::folders(&self.host.path_of(Part::Binary));
        folders.extend(links::folders(&bin_dir.join("shunt")));
        folders.extend(links::folders(&net_dir.join("any")));
        for found in self.host.list(net_dir).unwrap_or_default() {
            match found.kind {
                Kind::File if found.path.is_symlink() => {
                    folders.extend(links::folders(&found.path))
                }
                Kind::File => {}
                Kind::Folder | Kind::LinkedFolder => {
                    folders.extend(links::folders(&found.path.join("any")))
                }
            }
        }
        folders.retain(|folder| folder.is_dir());
        folders
    }

    fn no_bpffs(&self) -> Option<String> {
        let pins = &self.host.datapath.pin_path;
        let why = || format!("{} is not on a bpffs: pods stay plain TCP", pins.display());
        (!pins::is_on_bpffs(pins)).then(why)
    }

    fn look_at_sleepers(&self) -> Result<usize> {
        let folder = pins::folder(&self.host.datapath.pin_path);
        if !load::is_complete(&folder) {
            return Ok(0);
        }
        // None is needed for pods that are known by their network namespaces.
        let root = cgroup::pods_root().unwrap_or_default();
        sleepers::look(&mut Habits::open(&folder)?, &root)
    }

    /// Where shunt was uninstalled nothing is left to be swept. Where somebody else is at work, ADD sweeps until
    /// the next time.
    fn forget_pods(&self) -> Result<Option<Sweeper>> {
        let Ok(Claimed::Held(_claim)) = self.host.claim(Purpose::Keep) else { return Ok(None) };
        let Datapath { pin_path, lock_file } = &self.host.datapath;
        let Ok(_lock) = Lock::take(lock_file, BUSY) else { return Ok(None) };
        let datapath = datapath::Datapath::open(pin_path)?;
        let Some(mut datapath) = datapath else { return Ok(None) };
        datapath.sweep_regularly().map(Some)
    }
}

/// Again is no harm: the kernel knows the folder by its inode.
fn hear(inotify: &Inotify, folder: &Path) -> nix::Result<()> {
    let what = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVE
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR;
    inotify.add_watch(folder, what).map(drop)
}

/// Its errors are named for other things than inotify(7) means by them.
fn deaf(errno: Errno) -> String {
    match errno {
        Errno::EMFILE => "fs.inotify.max_user_instances is used up".into(),
        Errno::ENOSPC => "fs.inotify.max_user_watches is used up".into(),
        errno => format!("the kernel does not tell of changes: {errno}"),
    }
}
