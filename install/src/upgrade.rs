//! `upgrade`: this build's programs in the place of those that are pinned, with no
//! connection disturbed.

use std::{fmt, fs, path::PathBuf, time::Duration};

use anyhow::Context as _;
use serde::Serialize;
use shim::{datapath::Datapath, drain, layout::VERSION, lock::Lock, pins};

use crate::{
    adopt::{Adopted, Adoption},
    claim::{Claim, Purpose},
    drain::{Left, Patience, these},
    output::{Exit, Output, Stopped, next},
    paths, pods, settings,
    width::count,
};

const LOCK_PATIENCE: Duration = Duration::from_secs(60);

/// Put this version's programs in the place of those that are pinned
///
/// Where the layout of the maps is another, pods are attached to both, and the older goes once its
/// connections have left the short way. What was interrupted is finished by the next call.
#[derive(clap::Args)]
pub struct Upgrade {
    #[command(flatten)]
    pub datapath: paths::Datapath,
    #[command(flatten)]
    pub cni: paths::Cni,
    #[command(flatten)]
    pub logs: pods::Logs,
    #[command(flatten)]
    pub patience: Patience,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    /// None: nothing is pinned.
    layout: Option<&'static str>,
    /// How many pods have the new programs.
    pods: usize,
    /// Pods of another layout, attached to this one.
    adopted: Vec<Adopted>,
    /// Folders of other layouts that are gone.
    removed: Vec<PathBuf>,
    left: Left,
}

impl Upgrade {
    pub fn run(self, output: Output) -> anyhow::Result<Exit> {
        self.datapath.may_look()?;
        self.go(output).map_err(|error| {
            let next =
                next(&error, "mend that and call `shuntctl upgrade` again: it goes on from there");
            let stays = "what is pinned stays, and pods and their connections go on with it".into();
            Stopped { error, done: Vec::new(), stays, next }.into()
        })
    }

    fn go(&self, output: Output) -> anyhow::Result<Exit> {
        // A node that shunt is leaving gets no pins any more; one without a claim was set up by hand.
        let claim = Claim::stake(&self.datapath.lock_file, &self.cni, Purpose::Resume)?;
        let pins = &self.datapath.pin_path;
        if pins::folders(pins).is_empty() {
            output.print(&Report::default());
            return Ok(Exit::Done);
        }
        let lock = || Lock::take(&self.datapath.lock_file, LOCK_PATIENCE);
        let held = lock()?;
        let datapath = Datapath::open_or_load(pins, settings::of_node(&self.cni.net_dir, None))?;
        let pods = datapath.upgrade()?;
        let others: Vec<_> =
            pins::folders(pins).into_iter().filter(|folder| !folder.ends_with(VERSION)).collect();
        // No socket may enter both: the other layouts' stop before this one begins.
        let (used, dead): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|folder| drain::is_possible(folder));
        used.iter().try_for_each(|folder| drain::Drain::begin(folder).map(drop))?;
        drop(held);

        let adopted = self.adopt(&used)?;
        // What is on the short way of this layout goes on.
        let left = match &used[..] {
            [] => Left::default(),
            used => these(pins, used, self.patience, |left| output.progress(left))?,
        };
        let mut removed = Vec::new();
        if left.sockets == 0 {
            let _held = lock()?;
            for folder in used.into_iter().chain(dead) {
                fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
                removed.push(folder);
            }
        }
        let exit = if left.sockets == 0 { Exit::Done } else { Exit::TimedOut };
        drop(claim);
        output.print(&Report { layout: Some(VERSION), pods, adopted, removed, left });
        Ok(exit)
    }

    /// Attaches the pods of other layouts to this one too.
    fn adopt(&self, folders: &[PathBuf]) -> anyhow::Result<Vec<Adopted>> {
        let pods: Vec<_> = folders.iter().flat_map(|folder| pins::attached(folder)).collect();
        if pods.is_empty() {
            return Ok(Vec::new());
        }
        let adoption = Adoption::new(&self.datapath, &self.cni, &self.logs)?;
        let all = adoption.pods().into_iter();
        let theirs = all.filter(|pod| pod.ids().iter().any(|id| pods.contains(id)));
        Ok(theirs.map(|pod| adoption.adopt(&pod)).collect())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Some(layout) = self.layout else {
            return writeln!(f, "nothing is pinned, so nothing was upgraded");
        };
        writeln!(
            f,
            "layout {layout}: {} with the programs of this version",
            count(self.pods as u64, "pod")
        )?;
        self.adopted.iter().try_for_each(|pod| writeln!(f, "{pod}"))?;
        self.removed.iter().try_for_each(|gone| writeln!(f, "removed {}", gone.display()))?;
        if self.left.sockets > 0 {
            writeln!(f, "not finished: {}; call it again", self.left)?;
        }
        Ok(())
    }
}
