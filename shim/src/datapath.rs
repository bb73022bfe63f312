//! The pinned datapath of a node: which pods it accelerates, and what it counts.
//!
//! All state is in the pins: a process that dies leaves nothing that the next one cannot see.

use std::{
    fs,
    io::ErrorKind,
    net::{IpAddr, Ipv6Addr},
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context as _, anyhow, ensure};
use aya::{
    maps::{Array, HashMap, MapData, MapError},
    sys::SyscallError,
};
use aya_obj::generated::bpf_attach_type::{
    BPF_CGROUP_INET_SOCK_CREATE, BPF_CGROUP_SETSOCKOPT, BPF_CGROUP_SOCK_OPS, BPF_SK_LOOKUP,
};

use crate::{
    bpf,
    cgroup::Cgroup,
    connections::Connections,
    ended,
    habits::{Habits, Named},
    layout::*,
    listeners::{self, Found},
    load::{self, Settings},
    mptcp, pins,
    place::Place,
    refusal::Refusal,
};

/// Whoever changes something through this holds the [`crate::lock::Lock`].
pub struct Datapath {
    pub(crate) pins: PathBuf,
    pub(crate) pods: HashMap<MapData, PodId, Pod>,
    pub(crate) pod_ips: HashMap<MapData, Address, PodIp>,
    pub(crate) attachments: HashMap<MapData, Attachment, Attached>,
    pub(crate) habits: Habits,
    node: Array<MapData, Node>,
    listeners: HashMap<MapData, Listening, Listener>,
    cgroup_pod: OwnedFd,
}

/// What a pod and its network are called, as far as is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names<'a> {
    pub network: &'a str,
    pub namespace: &'a str,
    pub pod: &'a str,
}

/// Folders with a link for each pod.
const PER_POD: [&str; 3] = [name::LINKS, name::GUARDS, name::NO_MPTCP];

/// What a pod is to have.
#[derive(Clone, Debug)]
pub struct Wants {
    pub policy: Policy,
    /// Names of programs that are trusted from their first connection on.
    pub trusted: Vec<Named>,
}

impl Datapath {
    /// What is pinned below `pins` with this layout, loaded and pinned first if need be.
    pub fn open_or_load(pins: &Path, settings: Settings) -> Result<Self, Refusal> {
        let pins = pins::folder(pins);
        load::load(&pins, settings)?;
        Ok(Self::open_pins(&pins)?)
    }

    /// What is pinned below `pins` with this layout; `None` if nothing is.
    pub fn open(pins: &Path) -> Result<Option<Self>, Refusal> {
        let pins = pins::folder(pins);
        if !load::is_complete(&pins) {
            return Ok(None);
        }
        load::compare_maps(&pins)?;
        Ok(Some(Self::open_pins(&pins)?))
    }

    fn open_pins(pins: &Path) -> anyhow::Result<Self> {
        let other = |name: &str| bpf::open_pin(&pins.join(name)).with_context(|| name.to_string());
        Ok(Self {
            pods: load::map(pins, name::PODS)?.try_into()?,
            pod_ips: load::map(pins, name::POD_IPS)?.try_into()?,
            attachments: load::map(pins, name::ATTACHMENTS)?.try_into()?,
            habits: Habits::open(pins)?,
            node: load::map(pins, name::NODE)?.try_into()?,
            listeners: load::map(pins, name::LISTENERS)?.try_into()?,
            cgroup_pod: other(name::CGROUP_POD)?,
            pins: pins.to_owned(),
        })
    }

    /// Registers an attachment of a pod and attaches its place. May be repeated.
    pub fn add(
        &mut self,
        attachment: &Attachment,
        names: Names,
        place: &Place,
        ips: &[IpAddr],
        wants: &Wants,
    ) -> Result<(), Refusal> {
        let id = place.id();
        self.sweep_share()?;
        self.remove(attachment)?;
        self.forget_former(id)?;
        let added = self.register(attachment, names, id, ips, &wants.policy);
        let known = added.and_then(|()| {
            let mut named = wants.trusted.iter();
            if self.node()?.fionread != Fionread::ALL {
                self.habits.bar_who_asks(id)?;
            }
            Ok(named.try_for_each(|named| self.habits.name(id, *named))?)
        });
        let attached = known.and_then(|()| self.attach(place, wants.policy.no_mptcp != 0));
        if attached.is_err() {
            self.remove(attachment)?;
        } else {
            self.note(|node| node.accelerated += 1);
        }
        attached
    }

    /// Forgets a pod that is gone, as the kernel gives the number of its network namespace to another, and a
    /// runtime the same cgroup to the pod's next sandbox.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn forget_former(&mut self, id: PodId) -> anyhow::Result<()> {
        if self.pod(id)?.is_some() && !self.is_attached(id)? {
            self.forget(&[id].into())?;
        }
        if ended::has(&self.pins, id) { self.forget_programs(1) } else { Ok(()) }
    }

    fn register(
        &mut self,
        attachment: &Attachment,
        names: Names,
        id: PodId,
        ips: &[IpAddr],
        policy: &Policy,
    ) -> Result<(), Refusal> {
        let attached = Attached {
            pod: id,
            since: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()),
            network: cut(names.network),
            namespace: cut(names.namespace),
            name: cut(names.pod),
        };
        let full = |map| move |error| refused(map, error);
        self.attachments.insert(attachment, attached, 0).map_err(full(name::ATTACHMENTS))?;
        for ip in ips {
            let owner = PodIp { pod: id, attachment: attachment.id() };
            self.pod_ips.insert(Address::from(*ip), owner, 0).map_err(full(name::POD_IPS))?;
        }
        // One that is new has no others.
        let mut all = if self.pod(id)?.is_some() { self.ips_of(id)? } else { ips.to_vec() };
        all.iter_mut().for_each(|ip| *ip = ip.to_canonical());
        all.sort_unstable();
        all.dedup();
        self.describe(id, *policy, &all)?.map_err(full(name::PODS))
    }

    fn ips_of(&self, id: PodId) -> anyhow::Result<Vec<IpAddr>> {
        let ip = |address: Address| Ipv6Addr::from(address.ip).to_canonical();
        let theirs = |address, owner: PodIp| (owner.pod == id).then(|| ip(address));
        bpf::pick(&self.pod_ips, theirs).context(name::POD_IPS)
    }

    /// Writes the pod's entry: its policy, which its sockets then look up, and what `pod_ips` says of its addresses.
    fn describe(
        &mut self,
        id: PodId,
        policy: Policy,
        ips: &[IpAddr],
    ) -> anyhow::Result<Result<(), MapError>> {
        let (counters, programs) =
            self.pod(id)?.map_or_else(Default::default, |pod| (pod.counters, pod.programs));
        let mut pod = Pod {
            ipv4: [0; 4],
            ipv6: [0; 16],
            addresses: ips.len() as u32,
            policy,
            counters,
            programs,
            overruled: 0,
        };
        for ip in ips {
            match ip {
                IpAddr::V4(v4) => pod.ipv4 = v4.octets(),
                IpAddr::V6(v6) => pod.ipv6 = v6.octets(),
            }
        }
        let described = self.pods.insert(id, pod, 0);
        self.habits.changed()?;
        Ok(described)
    }

    fn attach(&self, place: &Place, no_mptcp: bool) -> Result<(), Refusal> {
        let id = place.id();
        if let Place::Namespace { all, .. } = place {
            self.run_for_all(all)?;
        }
        if self.is_attached(id)? {
            return Ok(());
        }
        // Of an ADD that did not get to its end.
        self.unpin(&id)?;
        match place {
            Place::Cgroup(cgroup) => self.attach_cgroup(cgroup, &id, id, no_mptcp),
            Place::Namespace { namespace, .. } => {
                let presence = self.program(name::PRESENCE)?;
                let link = bpf::attach(presence.as_fd(), namespace.as_fd(), BPF_SK_LOOKUP)
                    .context("cannot attach the pod's network namespace")?;
                Ok(self.pin(&link, name::LINKS, &id)?)
            }
        }
    }

    /// Attaches the programs of a cgroup, and tells them for which pod they run.
    fn attach_cgroup(
        &self,
        cgroup: &Cgroup,
        pin: &impl ToString,
        sees: PodId,
        no_mptcp: bool,
    ) -> Result<(), Refusal> {
        let attach = |program: &str, kind| match bpf::attach(
            self.program(program)?.as_fd(),
            cgroup.as_fd(),
            kind,
        ) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Err(Refusal::ForeignProgram { cgroup: cgroup.path.clone() })
            }
            link => Ok(link.context("cannot attach the pod's cgroup")?),
        };
        // Guarded before it is accelerated.
        let guard = attach(name::SETSOCKOPT, BPF_CGROUP_SETSOCKOPT)?;
        self.pin(&guard, name::GUARDS, pin)?;
        let link = attach(name::ESTABLISH, BPF_CGROUP_SOCK_OPS)?;
        bpf::update(self.cgroup_pod.as_fd(), cgroup.id, sees)
            .context("cannot tell the program which pod it runs for")?;
        if no_mptcp {
            let no_mptcp = attach(name::SOCK_CREATE, BPF_CGROUP_INET_SOCK_CREATE)?;
            self.pin(&no_mptcp, name::NO_MPTCP, pin)?;
        }
        Ok(self.pin(&link, name::LINKS, pin)?)
    }

    fn program(&self, name: &str) -> anyhow::Result<OwnedFd> {
        bpf::open_pin(&self.pins.join(name)).with_context(|| name.to_owned())
    }

    /// Attaches programs there, for pods that are known by their network namespaces.
    fn run_for_all(&self, root: &Cgroup) -> Result<(), Refusal> {
        match self.runs_for_all()? {
            0 => {
                self.unpin(&name::ALL)?;
                // Of those that want none it looks at the policy.
                self.attach_cgroup(root, &name::ALL, BY_NAMESPACE, !mptcp::is_safe())
            }
            there if there == root.id => Ok(()),
            _ => Err(anyhow!("programs run for all sockets below another cgroupRoot").into()),
        }
    }

    /// The cgroup below which they are attached; 0: none that is there.
    fn runs_for_all(&self) -> anyhow::Result<PodId> {
        match bpf::open_pin(&self.link_pin(name::LINKS, &name::ALL)) {
            Ok(link) => bpf::target_of_link(link.as_fd()).context("the link for all sockets"),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error).context("the link for all sockets"),
        }
    }

    /// Detaches them, unless there are such pods.
    pub(crate) fn release_all(&self) -> anyhow::Result<()> {
        let is_needed = pins::attached(&self.pins).into_iter().any(is_namespace);
        if is_needed { Ok(()) } else { self.unpin(&name::ALL) }
    }

    fn pin(&self, link: &OwnedFd, folder: &str, name: &impl ToString) -> anyhow::Result<()> {
        let pin = self.link_pin(folder, name);
        bpf::pin(link.as_fd(), &pin).with_context(|| format!("cannot pin {}", pin.display()))
    }

    /// Forgets an attachment, and the pod with its last one. An address that has a new owner
    /// stays. Nothing there is no error.
    pub fn remove(&mut self, attachment: &Attachment) -> anyhow::Result<()> {
        let Some(Attached { pod, .. }) = found(self.attachments.get(attachment, 0))? else {
            return Ok(());
        };
        let of_pod = self.pick_attached(|key, at| (at.pod == pod).then_some(key))?;
        if of_pod.iter().all(|key| key == attachment) {
            return self.forget_all(&[pod].into(), &of_pod);
        }
        for (ip, owner) in self.pod_ips()? {
            if owner == (PodIp { pod, attachment: attachment.id() }) {
                gone(self.pod_ips.remove(&ip))?;
            }
        }
        if let Some(known) = self.pod(pod)? {
            self.describe(pod, known.policy, &self.ips_of(pod)?)??;
        }
        gone(self.attachments.remove(attachment))
    }

    /// Removes the attachments of a network that the runtime does not name (CNI GC).
    pub fn remove_stale(&mut self, network: &str, valid: &[Attachment]) -> anyhow::Result<()> {
        for (attachment, attached) in self.attachments()? {
            if attached.network == cut(network) && !valid.contains(&attachment) {
                self.remove(&attachment)?;
            }
        }
        self.sweep()
    }

    pub(crate) fn unpin(&self, name: &impl ToString) -> anyhow::Result<()> {
        for folder in PER_POD {
            let pin = self.link_pin(folder, name);
            match fs::remove_file(&pin) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| pin.display().to_string());
                }
                _ => (),
            }
        }
        Ok(())
    }

    /// What CNI CHECK asks: an attachment that ADD made is still as ADD made it. One that ADD
    /// did not make, as the node could not, is no error.
    pub fn check(&self, attachment: &Attachment, ips: &[IpAddr]) -> anyhow::Result<()> {
        let Some(Attached { pod, .. }) = found(self.attachments.get(attachment, 0))? else {
            return Ok(());
        };
        let runs = !is_namespace(pod) || self.runs_for_all()? != 0;
        ensure!(runs && self.is_attached(pod)?, "the program is not attached for the pod");
        ensure!(self.pod(pod)?.is_some(), "the pod is not in the map {}", name::PODS);
        for ip in ips {
            let owner = found(self.pod_ips.get(&Address::from(*ip), 0))?;
            let owner = owner.with_context(|| format!("{ip} is not registered"))?;
            ensure!(owner.pod == pod, "{ip} is registered for another pod");
        }
        Ok(())
    }

    pub fn is_attached(&self, pod: PodId) -> anyhow::Result<bool> {
        pins::is_attached(&self.pins, pod)
    }

    /// Puts this build's programs in the place of those that are pinned, and behind every link.
    /// A connection that is on the short way keeps its sk_msg program. How many pods there are.
    ///
    /// # Errors
    /// The kernel refuses; a later call finishes what was begun.
    pub fn upgrade(&self) -> Result<usize, Refusal> {
        // The costly way is nobody's choice but the operator's, who is not asked again.
        let syscalls = self.node()?.watch == Watch::Syscalls as u64;
        load::load_and_pin(&self.pins, syscalls.then_some(Watch::Syscalls))?;
        let pods = pins::attached(&self.pins);
        for (folder, program) in [
            (name::NO_MPTCP, name::SOCK_CREATE),
            (name::GUARDS, name::SETSOCKOPT),
            (name::LINKS, name::ESTABLISH),
        ] {
            let program = self.program(program)?;
            // What is attached to network namespaces does nothing that could be newer.
            let of_cgroups = pods.iter().filter(|pod| !is_namespace(**pod)).map(PodId::to_string);
            for name in of_cgroups.chain([name::ALL.to_owned()]) {
                let pin = self.link_pin(folder, &name);
                let link = match bpf::open_pin(&pin) {
                    Err(error)
                        if error.kind() == ErrorKind::NotFound
                            && (folder == name::NO_MPTCP || name == name::ALL) =>
                    {
                        continue;
                    }
                    link => link.with_context(|| pin.display().to_string())?,
                };
                bpf::update_link(link.as_fd(), program.as_fd())
                    .with_context(|| format!("cannot update {}", pin.display()))?;
            }
        }
        Ok(pods.len())
    }

    /// Lets what a pod's listeners accept take part, where no program saw them listen. How many.
    ///
    /// # Errors
    /// Their descriptors may not be had.
    pub fn adopt_listeners(&mut self, pod: PodId, processes: &[i32]) -> anyhow::Result<usize> {
        let found = listeners::of(processes)?;
        let mut taking_part = 0;
        for Found { name, port, listener } in found {
            let key = Listening { pod, port: port.into() };
            let is_plain = listener.kind == Listener::PLAIN;
            // Which of several on one port accepts a socket is not known.
            let other = self.listeners.get(&key, 0).ok().filter(|other| other.sock == 0);
            let obscure = listener.obscure | other.map_or(0, |other| other.obscure);
            let kind = other.map_or(listener.kind, |other| other.kind.max(listener.kind));
            self.listeners
                .insert(key, Listener { kind, obscure, ..listener }, 0)
                .context("cannot mark a listener")?;
            if is_plain {
                self.habits.name_port(pod, name, port)?;
                taking_part += 1;
            }
        }
        Ok(taking_part)
    }

    /// What is known of programs.
    pub fn habits(&mut self) -> &mut Habits {
        &mut self.habits
    }

    /// Whether connections are only looked at, in pods that do not say otherwise.
    pub fn is_observing(&self) -> anyhow::Result<bool> {
        Ok(self.observing()?.get(&0, 0)? != 0)
    }

    /// From now on, for new connections.
    pub fn observe(&self, observing: bool) -> anyhow::Result<()> {
        Ok(self.observing()?.set(0, u32::from(observing), 0)?)
    }

    fn observing(&self) -> anyhow::Result<Array<MapData, u32>> {
        load::map(&self.pins, name::OBSERVING)?.try_into().context(name::OBSERVING)
    }

    fn link_pin(&self, folder: &str, name: &impl ToString) -> PathBuf {
        self.pins.join(folder).join(name.to_string())
    }

    /// Counts a pod that stays without acceleration.
    pub fn refused(&mut self, refusal: &Refusal) {
        self.note(|Node { not_accelerated, .. }| {
            *match refusal {
                Refusal::NoCgroup(_) => &mut not_accelerated.no_cgroup,
                Refusal::ForeignProgram { .. } => &mut not_accelerated.foreign_program,
                Refusal::Full(_) => &mut not_accelerated.full,
                _ => &mut not_accelerated.refused,
            } += 1;
        });
    }

    pub(crate) fn note(&mut self, change: impl FnOnce(&mut Node)) {
        let noted = self.node().and_then(|mut node| {
            change(&mut node);
            Ok(self.node.set(0, node, 0)?)
        });
        if let Err(error) = noted {
            log::warn!("cannot count: {error:#}");
        }
    }

    pub fn node(&self) -> anyhow::Result<Node> {
        Ok(self.node.get(&0, 0)?)
    }

    pub fn pods(&self) -> anyhow::Result<Vec<(PodId, Pod)>> {
        bpf::entries(&self.pods).context(name::PODS)
    }

    pub fn pod(&self, id: PodId) -> anyhow::Result<Option<Pod>> {
        found(self.pods.get(&id, 0))
    }

    pub fn pod_ips(&self) -> anyhow::Result<Vec<(Address, PodIp)>> {
        bpf::entries(&self.pod_ips).context(name::POD_IPS)
    }

    pub fn attachments(&self) -> anyhow::Result<Vec<(Attachment, Attached)>> {
        self.pick_attached(|attachment, attached| Some((attachment, attached)))
    }

    pub(crate) fn pick_attached<T>(
        &self,
        pick: impl FnMut(Attachment, Attached) -> Option<T>,
    ) -> anyhow::Result<Vec<T>> {
        bpf::pick(&self.attachments, pick).context(name::ATTACHMENTS)
    }

    /// The sockets that bytes may be handed to.
    pub fn connections(&self) -> anyhow::Result<Connections> {
        Connections::open(&self.pins)
    }
}

fn cut<const N: usize>(name: &str) -> [u8; N] {
    let bytes = name.as_bytes();
    padded(&bytes[..bytes.len().min(N - 1)]).unwrap_or([0; N])
}

fn refused(map: &'static str, error: MapError) -> Refusal {
    match &error {
        MapError::SyscallError(SyscallError { io_error, .. })
            if io_error.raw_os_error() == Some(libc::E2BIG) =>
        {
            Refusal::Full(map)
        }
        _ => Refusal::Kernel(anyhow::Error::new(error).context(map)),
    }
}

fn found<T>(value: Result<T, MapError>) -> anyhow::Result<Option<T>> {
    match value {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn gone(removed: Result<(), MapError>) -> anyhow::Result<()> {
    match removed {
        Err(MapError::SyscallError(SyscallError { io_error, .. }))
            if io_error.kind() == ErrorKind::NotFound =>
        {
            Ok(())
        }
        Err(MapError::KeyNotFound) => Ok(()),
        other => Ok(other?),
    }
}
