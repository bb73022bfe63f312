//! `drain`: every connection goes back to TCP, and none loses a byte.

use std::{
    collections::BTreeMap,
    fmt, iter,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use serde::Serialize;
use shim::{datapath, drain, layout::SocketState, pins};

use crate::{
    output::{Exit, Output},
    paths, pods,
    width::count,
};

const INTERVAL: Duration = Duration::from_millis(100);

/// Take every connection off the short way, without losing a byte
///
/// From then on none is accelerated until `drain --resume`; those that were taken off stay with TCP.
#[derive(clap::Args)]
pub struct Drain {
    #[command(flatten)]
    datapath: paths::Datapath,
    #[command(flatten)]
    patience: Patience,
    /// Let new connections take the short way again
    #[arg(long)]
    resume: bool,
}

#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Patience {
    /// How long to wait until all that was handed over is read
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// What is still on the short way, and in whose sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Left {
    pub sockets: usize,
    /// Sockets with unread bytes, by pod.
    pub unread: BTreeMap<String, usize>,
}

#[derive(Serialize)]
struct Resumed {
    /// False: nothing is pinned.
    resumed: bool,
}

impl fmt::Display for Resumed {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self.resumed {
            true => "new connections take the short way again",
            false => "nothing is pinned, so nothing was drained",
        })
    }
}

impl Drain {
    pub fn run(self, output: Output) -> anyhow::Result<Exit> {
        self.datapath.may_look()?;
        let pins = &self.datapath.pin_path;
        if self.resume {
            let folders = folders(pins);
            folders.iter().try_for_each(|folder| drain::resume(folder))?;
            output.print(&Resumed { resumed: !folders.is_empty() });
            return Ok(Exit::Done);
        }
        let left = all(pins, self.patience, |left| output.print(left))?;
        Ok(if left.sockets == 0 { Exit::Done } else { Exit::TimedOut })
    }
}

/// Drains what is pinned of any layout. Tells `progress` whenever something has changed, and gives
/// what is left: nothing, or that for which there was not time enough.
pub fn all(pins: &Path, patience: Patience, progress: impl FnMut(&Left)) -> anyhow::Result<Left> {
    these(pins, &folders(pins), patience, progress)
}

fn folders(pins: &Path) -> Vec<PathBuf> {
    let mut folders = pins::folders(pins);
    folders.retain(|folder| drain::is_possible(folder));
    folders
}

/// As [`all`], for the layouts in these folders.
pub fn these(
    pins: &Path,
    folders: &[PathBuf],
    patience: Patience,
    mut progress: impl FnMut(&Left),
) -> anyhow::Result<Left> {
    let deadline = Instant::now() + patience.timeout;
    let mut drains =
        folders.iter().map(|folder| drain::Drain::begin(folder)).collect::<Result<Vec<_>, _>>()?;
    let mut told = None;
    loop {
        let mut sockets = Vec::new();
        for drain in &mut drains {
            sockets.extend(drain.step()?);
        }
        let left = left(pins, &sockets);
        if told.as_ref() != Some(&left) {
            progress(&left);
        }
        if left.sockets == 0 || Instant::now() >= deadline {
            return Ok(left);
        }
        told = Some(left);
        sleep(INTERVAL);
    }
}

fn left(pins: &Path, sockets: &[SocketState]) -> Left {
    // Names are of this layout's pods only; others have an id.
    let names = datapath::Datapath::open(pins).ok().flatten();
    let names = names.and_then(|datapath| pods::names(&datapath).ok()).unwrap_or_default();
    let mut unread = BTreeMap::new();
    for socket in sockets.iter().filter(|socket| socket.unread != 0) {
        let name = names.get(&socket.pod).cloned();
        *unread.entry(name.unwrap_or_else(|| format!("pod {}", socket.pod))).or_default() += 1;
    }
    Left { sockets: sockets.len(), unread }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.sockets == 0 {
            return write!(f, "nothing is on the short way");
        }
        let pods = self.unread.iter().map(|(pod, sockets)| format!("{pod}: {sockets}"));
        let sockets = count(self.sockets as u64, "socket");
        let first = format!("{sockets} still on the short way");
        let unread: Vec<_> = iter::once(first).chain(pods).collect();
        write!(f, "{}", unread.join("; unread in "))
    }
}
