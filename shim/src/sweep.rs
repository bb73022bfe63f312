//! Forgetting pods that are gone, as runtimes lose DELs and none in use calls GC: all of them by whoever
//! does so regularly, as `watch` does, and else some with each ADD.

use std::{collections::BTreeSet, fs::File};

use anyhow::Context as _;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use crate::{
    bpf,
    datapath::{Datapath, gone},
    ended,
    layout::{Attached, Attachment, Node, Pod, PodId, is_namespace, name},
};

/// How many pods an ADD looks at, one of [`EVERY`]. Each ADD brings one itself, so that what is left behind stays a
/// small part of all.
pub const SHARE: usize = 32;
/// To look at any, all attachments are read.
pub const EVERY: usize = 4;

/// That somebody sweeps regularly: a lock on the layout's folder, shared by all who do. Released on drop, and by
/// the kernel when the process dies.
pub struct Sweeper {
    _held: Flock<File>,
}

impl Datapath {
    /// Removes what belongs to pods whose cgroup or network namespace is gone, or whose ADD did not get to its end.
    pub fn sweep(&mut self) -> anyhow::Result<()> {
        let known = self.known()?;
        self.forget_gone(&known)?;
        self.forget_programs(1)
    }

    /// As long as the caller keeps what it gets, no ADD sweeps.
    ///
    /// # Errors
    /// The kernel refuses the lock.
    pub fn sweep_regularly(&mut self) -> anyhow::Result<Sweeper> {
        self.sweep()?;
        let held = Flock::lock(self.folder()?, FlockArg::LockSharedNonblock);
        let held = held.map_err(|(_, errno)| errno).context("cannot lock the layout's folder")?;
        Ok(Sweeper { _held: held })
    }

    /// Whether somebody sweeps regularly.
    ///
    /// # Errors
    /// Of opening the layout's folder.
    pub fn is_swept(&self) -> anyhow::Result<bool> {
        let held = Flock::lock(self.folder()?, FlockArg::LockExclusiveNonblock);
        Ok(matches!(held, Err((_, Errno::EAGAIN))))
    }

    /// [`Datapath::sweep`] of at most [`SHARE`] pods, others each time, where nobody does it regularly.
    pub(crate) fn sweep_share(&mut self) -> anyhow::Result<()> {
        let Node { accelerated, not_accelerated, .. } = self.node()?;
        let tries = (accelerated + not_accelerated.total()) as usize;
        if !tries.is_multiple_of(EVERY) || self.is_swept()? {
            return Ok(());
        }
        let known = self.known()?;
        let shares = known.len().div_ceil(SHARE).max(1);
        let share = known.chunks(SHARE).nth(tries / EVERY % shares);
        self.forget_gone(share.unwrap_or_default())
    }

    fn folder(&self) -> anyhow::Result<File> {
        File::open(&self.pins).with_context(|| self.pins.display().to_string())
    }

    /// All pods of which anything may be left: an attachment comes first, and goes last. In the order of their
    /// ids: those of cgroups grow, so that those that come move none to another share.
    fn known(&self) -> anyhow::Result<Vec<PodId>> {
        let mut known = self.pick_attached(|_, attached| Some(attached.pod))?;
        known.sort_unstable();
        known.dedup();
        Ok(known)
    }

    pub(crate) fn forget(&mut self, pods: &BTreeSet<PodId>) -> anyhow::Result<()> {
        let is_theirs = |key, at: Attached| pods.contains(&at.pod).then_some(key);
        self.forget_all(pods, &self.pick_attached(is_theirs)?)
    }

    /// Of pods that have these attachments. As those tell of the pods, they go last: who dies in here leaves them
    /// to the next sweep.
    pub(crate) fn forget_all(
        &mut self,
        pods: &BTreeSet<PodId>,
        attachments: &[Attachment],
    ) -> anyhow::Result<()> {
        pods.iter().try_for_each(|pod| self.unpin(pod))?;
        if pods.iter().any(|pod| is_namespace(*pod)) {
            self.release_all()?;
        }
        let ips = bpf::pick(&self.pod_ips, |ip, owner| pods.contains(&owner.pod).then_some(ip));
        for ip in ips.context(name::POD_IPS)? {
            gone(self.pod_ips.remove(&ip))?;
        }
        // Before what it stands for, so that it is enough in every state.
        let noted = pods.iter().try_for_each(|pod| ended::note(&self.pins, *pod));
        noted.context(name::ENDED)?;
        for pod in pods {
            if let Some(Pod { counters, .. }) = self.pod(*pod)? {
                self.note(|node| node.gone += counters);
            }
            // Without it the programs note no habits.
            gone(self.pods.remove(pod))?;
        }
        self.habits.forget_sockets(pods)?;
        for attachment in attachments {
            gone(self.attachments.remove(attachment))?;
        }
        self.forget_programs(ended::MOST)
    }

    /// Forgets the programs of pods that are gone, once there are so many of those.
    pub(crate) fn forget_programs(&mut self, least: usize) -> anyhow::Result<()> {
        let ended = ended::all(&self.pins);
        if ended.len() < least {
            return Ok(());
        }
        let mut former = BTreeSet::new();
        for pod in &ended {
            // Another build's ADD may have let one come again.
            if self.pod(*pod)?.is_none() {
                former.insert(*pod);
            }
        }
        self.habits.forget(&former)?;
        ended::clear(&self.pins, &ended).context(name::ENDED)
    }

    fn forget_gone(&mut self, pods: &[PodId]) -> anyhow::Result<()> {
        let mut ended = BTreeSet::new();
        for pod in pods {
            if !self.is_attached(*pod)? {
                ended.insert(*pod);
            }
        }
        // Each time it goes through all of the maps.
        if ended.is_empty() { Ok(()) } else { self.forget(&ended) }
    }
}
