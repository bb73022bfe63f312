//! The layout of the BPF maps, compiled by the eBPF programs and by user space.
//!
//! All fields are laid out without padding, so that a value is a plain array of bytes to the
//! kernel, and carry names that a person reads in `bpftool map dump`.

/// Name of this layout, and of its folder below the pin folder: versions of shunt with different
/// layouts live side by side there. To be changed with anything in this file that a map or a
/// program of another version would take for something else.
pub const VERSION: &str = "v2";

mod habits;

pub use habits::*;

/// Names of maps and programs: also their names under the layout's folder.
///
/// [`SOCKETS`](name::SOCKETS), [`DRAINING`](name::DRAINING) and [`INSPECT`](name::INSPECT), with
/// [`SocketState`] and the folders of links, are the same in every layout, so that every version
/// of shunt can drain every other.
pub mod name {
    /// Sockhash, cookie → socket: every socket that may be redirected to.
    pub const SOCKETS: &str = "sockets";
    /// Connections whose two ends have not both been seen yet.
    pub const PAIRS: &str = "pairs";
    /// Socket-local storage: what is known of a socket's connection.
    pub const FLOWS: &str = "flows";
    /// Socket-local storage of listeners, inherited by what they accept.
    pub const LISTENERS: &str = "listeners";
    /// Socket-local storage: whose a socket is that connects.
    pub const CONNECTING: &str = "connecting";
    /// Per pod, by cgroup id: addresses, policy, counters.
    pub const PODS: &str = "pods";
    /// Address → pod, for all pods of this node.
    pub const POD_IPS: &str = "pod_ips";
    /// CNI attachment (container and interface) → pod.
    pub const ATTACHMENTS: &str = "attachments";
    /// Cgroup storage: tells the program which pod's cgroup it runs for.
    pub const CGROUP_POD: &str = "cgroup_pod";
    /// Per program: how it reads from its sockets.
    pub const HABITS: &str = "habits";
    /// Cookie → program, for the sockets that are watched.
    pub const WATCHED: &str = "watched";
    /// One value: how often what is known of a program has changed.
    pub const CHANGES: &str = "changes";
    /// One value: 1 where connections are only looked at.
    pub const OBSERVING: &str = "observing";
    /// One value: counters of the node.
    pub const NODE: &str = "node";
    /// One value: 1 while no connection is to take the short way.
    pub const DRAINING: &str = "draining";
    pub const MAPS: [&str; 15] = [
        SOCKETS,
        PAIRS,
        FLOWS,
        LISTENERS,
        CONNECTING,
        HABITS,
        WATCHED,
        CHANGES,
        OBSERVING,
        PODS,
        POD_IPS,
        ATTACHMENTS,
        CGROUP_POD,
        NODE,
        DRAINING,
    ];

    /// sock_ops program: pairs connections and enters sockets.
    pub const ESTABLISH: &str = "shunt_establish";
    /// sk_msg program: decides per message.
    pub const MESSAGE: &str = "shunt_message";
    /// cgroup/setsockopt program: refuses what an accelerated socket cannot have.
    pub const SETSOCKOPT: &str = "shunt_setsockopt";
    /// Classifier that is attached nowhere: user space runs it to learn a socket's
    /// [`SocketState`](super::SocketState).
    pub const INSPECT: &str = "shunt_inspect";
    /// cgroup/sock_create program: MPTCP is off in a pod.
    pub const SOCK_CREATE: &str = "shunt_sock_create";
    /// What watches programs: name of the program without `shunt_fentry_` or `shunt_kprobe_`, function of the kernel, and
    /// whether every kernel has it.
    pub const WATCHERS: [(&str, &str, bool); 10] = [
        ("splice", "tcp_splice_read", true),
        ("recvmsg", "tcp_recvmsg", true),
        ("bpf_recvmsg", "tcp_bpf_recvmsg", true),
        ("bpf_sendmsg", "tcp_bpf_sendmsg", true),
        ("ioctl", "tcp_ioctl", true),
        ("bpf_ioctl", "tcp_bpf_ioctl", false),
        ("send_zc", "io_send_zc", false),
        ("sendmmsg", "__sys_sendmmsg", true),
        ("send", "io_send", false),
        ("sendmsg", "io_sendmsg", false),
    ];
    /// Raw tracepoint of all system calls.
    pub const SYSCALLS: &str = "shunt_syscalls";
    /// Redirects everything: for the trial of what FIONREAD counts.
    pub const TRIAL: &str = "shunt_trial";
    /// Sub-folder with one pinned link of the sock_ops program per pod, named by cgroup id.
    pub const LINKS: &str = "links";
    /// Likewise of the setsockopt program.
    pub const GUARDS: &str = "guards";
    /// Likewise of the sock_create program.
    pub const NO_MPTCP: &str = "no_mptcp";
    /// Sub-folder with the pinned links of what watches.
    pub const WATCHES: &str = "watches";
}

/// The bound of [`Policy::excluded_ports`].
pub const MAX_EXCLUDED_PORTS: usize = 16;
/// The bound of [`Policy::service_cidrs`].
pub const MAX_SERVICE_CIDRS: usize = 4;
/// Bytes of a container ID that the attachments map can hold.
pub const MAX_CONTAINER_ID: usize = 128;
/// Bytes of a network's name that the attachments map keeps.
pub const MAX_NETWORK: usize = 64;
/// Bytes of a pod's namespace and name (63 and 253 in Kubernetes) that it keeps.
pub const MAX_NAMESPACE: usize = 64;
pub const MAX_POD_NAME: usize = 256;
/// IFNAMSIZ of linux/if.h.
pub const MAX_IFNAME: usize = 16;

/// An IPv6 address, or an IPv4 address in its v4-mapped form (`::ffff:a.b.c.d`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    pub ip: [u8; 16],
}

/// A block of addresses. As words in network order, as the kernel has them; an IPv4 block in its
/// v4-mapped form.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cidr {
    pub network: [u32; 4],
    /// All zeroes: no block.
    pub mask: [u32; 4],
}

impl Cidr {
    #[inline(always)]
    pub fn holds(&self, ip: [u32; 4]) -> bool {
        let Self { network: [n0, n1, n2, n3], mask: [m0, m1, m2, m3] } = *self;
        let [ip0, ip1, ip2, ip3] = ip;
        let differ = (ip0 & m0 ^ n0) | (ip1 & m1 ^ n1) | (ip2 & m2 ^ n2) | (ip3 & m3 ^ n3);
        differ == 0 && m0 != 0
    }
}

/// A pod's id: the kernel's id of its cgroup, never reused while the machine is up.
pub type PodId = u64;
/// A socket's key in the sockhash: its cookie, unique on the node while it is up.
pub type Cookie = u64;

impl From<core::net::IpAddr> for Address {
    fn from(ip: core::net::IpAddr) -> Self {
        let ip = match ip {
            core::net::IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            core::net::IpAddr::V6(v6) => v6,
        };
        Self { ip: ip.octets() }
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodIp {
    pub pod: PodId,
    /// [`Attachment::id`] of the one that brought the address.
    pub attachment: u64,
}

/// The key under which a runtime names what it asked for: CNI_CONTAINERID and CNI_IFNAME,
/// padded with zeroes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attachment {
    pub container_id: [u8; MAX_CONTAINER_ID],
    pub ifname: [u8; MAX_IFNAME],
}

impl Attachment {
    /// `None` if the runtime's names are longer than the map's key.
    pub fn new(container_id: &str, ifname: &str) -> Option<Self> {
        Some(Self {
            container_id: padded(container_id.as_bytes())?,
            ifname: padded(ifname.as_bytes())?,
        })
    }

    /// A short name for it (FNV-1a), the same in every version of shunt.
    pub fn id(&self) -> u64 {
        self.container_id.iter().chain(&self.ifname).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }
}

/// Value of the attachments map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    pub pod: PodId,
    /// Seconds since 1970.
    pub since: u64,
    /// The network's name in its conflist (GC speaks of one network), cut to fit.
    pub network: [u8; MAX_NETWORK],
    /// As far as the runtime told, cut to fit.
    pub namespace: [u8; MAX_NAMESPACE],
    pub name: [u8; MAX_POD_NAME],
}

/// The text in a field that is padded with zeroes.
#[cfg(feature = "std")]
pub fn text(field: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(field.split(|byte| *byte == 0).next().unwrap_or_default())
}

/// `bytes` with zeroes behind, or `None` if there is no room for one.
pub fn padded<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    out.get_mut(..bytes.len())?.copy_from_slice(bytes);
    (bytes.len() < N).then_some(out)
}

/// Value of the listeners map.
pub mod listener {
    /// TCP's own, which the program saw listen, or user space has found.
    pub const PLAIN: u64 = 1;
    /// MPTCP's.
    pub const MPTCP: u64 = 2;
    /// SMC's, or another's that has the socket for itself.
    pub const FOREIGN: u64 = 3;
    pub const KIND: u64 = 0xff;
    /// A bit: it was in blocking mode, or its task used io_uring, so that what it accepts does not enter
    /// before its program is known.
    pub const WAITS: u64 = 0x100;
}

/// The two initial sequence numbers plus one: a connection's id, which neither end chose alone.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pair {
    /// First sequence number of the active end's data.
    pub active: u32,
    /// First sequence number of the passive end's data.
    pub passive: u32,
}

/// One end of a connection, as its peer needs to know it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct End {
    /// 0: this end is not known (yet).
    pub cookie: Cookie,
    /// Address of the kernel's `struct sock`.
    pub sock: u64,
    /// Address of its [`Flow`].
    pub flow: u64,
    pub pod: PodId,
    /// 1: it is in the sockhash; 0: it is plain TCP.
    pub entered: u64,
}

/// Value of the pairs map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Ends {
    pub active: End,
    pub passive: End,
}

/// Socket-local storage of a socket in the sockhash. Written under that socket's lock only.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    pub own: End,
    pub peer: End,
    pub pair: Pair,
    /// Own `write_seq` while nothing goes by TCP: it must not move then.
    pub tcp_seq: u32,
    /// [`Flow::TCP`] or [`Flow::SHUNT`].
    pub mode: u32,
    /// Bytes of kernel memory that may still go into the peer's queue.
    pub budget: u64,
    /// Address of the peer's `struct file`, which has its O_NONBLOCK; 0 until it was accepted.
    pub peer_file: u64,
    /// Not 0 once anything may have been handed to the peer. Read by the peer.
    pub fed: u64,
    /// The callback flags that shunt has set for the socket, to be cleared when they are needed no
    /// more.
    pub callbacks: u32,
    /// Own `write_seq` plus `messages` at the last look at what was sent.
    pub sent_seq: u32,
    /// Own `write_seq` when the short way was last left. Read by the peer.
    pub seam: u32,
    /// [`Flow::ENTERED`], [`Flow::SETTLED`], [`Flow::LEAVING`] or [`Flow::PLAIN`]. Read by the peer.
    pub stage: u32,
    /// [`Reasons::LEARNING`] and so on: why it is [`Flow::PLAIN`].
    pub why: u32,
    /// [`Trust`] in the own program; 0: none.
    pub trusted: u32,
    /// Likewise in the peer's.
    pub peer_trust: u32,
    /// 1: this socket sends urgent data.
    pub urgent: u32,
    /// The peer's `seam` behind which the reader was told of what is unread.
    pub told: u32,
    pub reserved: u32,
    /// [`name::CHANGES`] plus one when `peer_trust` was looked up. 0: never.
    pub peer_checked: u64,
    /// Likewise for the own program.
    pub own_checked: u64,
    /// Bytes that were sent by TCP and counted.
    pub tcp_bytes: u64,
    /// Bytes that were sent since the peer last sent something.
    pub run: u64,
    /// `messages` of the peer then.
    pub run_after: u64,
    /// How many of them may be handed over.
    pub allowed: u64,
    /// Messages that were sent. Read by the peer.
    pub messages: u64,
    /// Those that are large to `ebpf/src/rules/bulk.rs`. Read by the peer, with `messages`.
    pub large: u64,
    /// `messages` of the peer when it was last seen to have grown.
    pub heard: u64,
    /// By how much small messages outnumbered large ones when bulk was last looked at, modulo 2^64:
    /// own, and the peer's.
    pub excess: [u64; 2],
    /// What TCP had to carry since, as `ebpf/src/rules/bulk.rs` counts it.
    pub bulk: u64,
    pub keepalive: Keepalive,
    /// What the budget was when it was last renewed; 0: never. It grows with a reader that reads.
    pub grant: u64,
    /// What of that belongs to messages that were unread then.
    pub carried: u64,
    /// Bytes that were handed over, modulo 2^32, now and when the budget was last renewed.
    pub handed: u32,
    pub renewed_at: u32,
    /// Jiffies from which on a message is to go by TCP, see `ebpf/src/rules/heartbeat.rs`; 0: not set.
    pub due: u64,
}

/// What was borrowed of a socket's keepalive: see `ebpf/src/rules/wakeup.rs`. Times in seconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Keepalive {
    pub on: i32,
    pub idle: i32,
    /// 0: nothing is borrowed.
    pub interval: i32,
    pub probes: i32,
}

impl Flow {
    pub const TCP: u32 = 0;
    pub const SHUNT: u32 = 1;

    /// In the sockhash until it turns out to block, or to be alone.
    pub const ENTERED: u32 = 0;
    pub const SETTLED: u32 = 1;
    /// Nothing is handed to it any more.
    pub const LEAVING: u32 = 2;
    /// Not in the sockhash.
    pub const PLAIN: u32 = 3;
}

/// What [`name::INSPECT`] tells of a socket in the sockhash. It is the packet that the program runs
/// on: it goes in with the cookie, and comes out complete.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketState {
    pub cookie: Cookie,
    /// Whose socket it is.
    pub pod: PodId,
    /// What it sends goes the short way; 1 or 0, as all that follow.
    pub shunt: u32,
    /// Its peer is known.
    pub met: u32,
    /// Something that was handed to it is unread, or its keepalive is borrowed.
    pub unread: u32,
    /// Somebody is inside its send(2) or recv(2).
    pub busy: u32,
}

/// What a pod's configuration says, read by the programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Bytes of kernel memory that one direction of one connection may queue at its reader,
    /// where the application has not set the socket's buffers.
    pub queue_limit: u32,
    /// Seconds after which a connection in use shows itself to the network; 0: never.
    pub heartbeat: u32,
    /// 1: sockets that sleep in recv(2) take part.
    pub blocking: u32,
    /// [`Policy::AS_NODE`], [`Policy::ACCELERATE`] or [`Policy::OBSERVE`].
    pub mode: u32,
    /// Connections with one of these as local or remote port stay plain TCP; 0 fills the rest.
    pub excluded_ports: [u16; MAX_EXCLUDED_PORTS],
    /// Whoever dials into them enters on trial, as a pod of this node may answer.
    pub service_cidrs: [Cidr; MAX_SERVICE_CIDRS],
}

impl Policy {
    pub const AS_NODE: u32 = 0;
    pub const ACCELERATE: u32 = 1;
    /// Connections are looked at only.
    pub const OBSERVE: u32 = 2;
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(serde::Serialize))]
pub struct Traffic {
    pub messages: u64,
    pub bytes: u64,
}

/// Why a connection end of this pod stayed plain TCP.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(serde::Serialize))]
pub struct NotPaired {
    /// Its peer's address is not on this node.
    pub remote: u64,
    /// Accepted from a client that is not an accelerated pod's.
    pub no_peer: u64,
    /// Another socket waited under its numbers than the one that it was accepted from: chance, a
    /// forger, or something on the way clears the packets' hash.
    pub unproven: u64,
    /// Entered, but no accelerated end ever accepted it.
    pub unanswered: u64,
    pub excluded_port: u64,
    /// The node is being drained.
    pub draining: u64,
    /// Another sock_ops program takes away callbacks of the pod's sockets, or of its peer.
    pub overruled: u64,
    /// Another sk_msg program has the socket (EBUSY).
    pub busy: u64,
    /// The sockhash is full.
    pub full: u64,
    /// The kernel refused for another reason (no memory, kTLS).
    pub refused: u64,
}

/// Why connections of this pod whose both ends are on the node are plain TCP, by what keeps the own
/// end.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(serde::Serialize))]
pub struct Reasons {
    /// Its program is not known yet.
    pub learning: u64,
    /// Its program sleeps in recv(2).
    pub sleeps: u64,
    /// Its program reads by splice(2).
    pub splices: u64,
    /// Its program asks FIONREAD, which this kernel answers wrong.
    pub counts_unread: u64,
    /// Its program reads with MSG_WAITALL.
    pub waits_for_all: u64,
    /// Its program sends without copies, or SO_ZEROCOPY is set.
    pub zerocopy: u64,
    /// Its program sends several messages by one call, in non-blocking mode.
    pub batches: u64,
    /// It is MPTCP's or SMC's, or its listener was there before the pod was attached.
    pub listener: u64,
    /// Only the other end is kept.
    pub peer: u64,
    /// Connections are looked at only.
    pub observed: u64,
    /// It has left the sockhash.
    pub left: u64,
    /// The sockhash is full, or the kernel refused.
    pub refused: u64,
    /// Nothing: so that four bits of an index name a counter.
    #[cfg_attr(feature = "std", serde(skip))]
    pub reserved: [u64; 4],
}

impl Reasons {
    pub const LEARNING: u32 = 0;
    pub const SLEEPS: u32 = 1;
    pub const SPLICES: u32 = 2;
    pub const COUNTS_UNREAD: u32 = 3;
    pub const WAITS_FOR_ALL: u32 = 4;
    pub const ZEROCOPY: u32 = 5;
    pub const BATCHES: u32 = 6;
    pub const LISTENER: u32 = 7;
    pub const PEER: u32 = 8;
    pub const OBSERVED: u32 = 9;
    pub const LEFT: u32 = 10;
    pub const REFUSED: u32 = 11;

    pub fn total(&self) -> u64 {
        let Self { learning, sleeps, splices, counts_unread, waits_for_all, .. } = *self;
        let Self { zerocopy, batches, listener, peer, observed, left, refused, .. } = *self;
        learning
            + sleeps
            + splices
            + counts_unread
            + waits_for_all
            + zerocopy
            + batches
            + listener
            + peer
            + observed
            + left
            + refused
    }
}

impl From<Distrust> for u32 {
    #[inline(always)]
    fn from(distrust: Distrust) -> u32 {
        match distrust {
            Distrust::NotKnownYet => Reasons::LEARNING,
            Distrust::Sleeps => Reasons::SLEEPS,
            Distrust::Splices => Reasons::SPLICES,
            Distrust::CountsUnread => Reasons::COUNTS_UNREAD,
            Distrust::WaitsForAll => Reasons::WAITS_FOR_ALL,
            Distrust::ZeroCopy => Reasons::ZEROCOPY,
            Distrust::Batches => Reasons::BATCHES,
        }
    }
}

/// Why a direction of a connection went back to TCP, or a message stayed on it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(serde::Serialize))]
pub struct ToTcp {
    /// The peer's queue was over its limit, or memory scarce.
    pub queue_full: u64,
    /// Callbacks of this pod's socket were taken away, see `ebpf/src/rules/overruled.rs`.
    pub overruled: u64,
    /// The network is shown that the connection is in use.
    pub heartbeat: u64,
    /// The peer asked to be woken only for more than one byte (SO_RCVLOWAT).
    pub rcvlowat: u64,
    /// The peer sleeps in recv(2).
    pub blocking: u64,
    /// The peer's program is not trusted any more.
    pub distrusted: u64,
    /// The peer's program was not seen to read so much at once.
    pub untried: u64,
    /// Urgent data was sent (MSG_OOB).
    pub oob: u64,
    /// Bytes went by TCP without passing the program.
    pub bypassed: u64,
    /// The peer's socket has left the sockhash, or this one may not send any more.
    pub closing: u64,
    /// The node is being drained.
    pub draining: u64,
    /// One end has left the sockhash, as it sent for long without an answer.
    pub bulk: u64,
}

/// Sockets of this pod that were handed bytes, and then were read for the first time in a way that
/// does not see them: those bytes they may have missed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(serde::Serialize))]
pub struct Late {
    /// By splice(2).
    pub splice: u64,
    /// As FIONREAD says, where the kernel counts wrong.
    pub fionread: u64,
    /// With MSG_WAITALL, in blocking mode.
    pub waitall: u64,
}

/// Counters of one pod. They only grow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(serde::Serialize))]
pub struct Counters {
    /// Connection ends of this pod whose peer was found.
    pub paired: u64,
    pub not_paired: NotPaired,
    /// Connections that stay plain TCP although both ends are on the node.
    pub plain: Reasons,
    /// Bytes that those sent; counted when they end.
    pub plain_bytes: Reasons,
    /// Of `plain_bytes.observed`, what would have taken the short way.
    pub foretold_bytes: u64,
    /// Sent the short way, from socket to socket.
    pub shunted: Traffic,
    /// Sent by TCP on sockets in the sockhash.
    pub by_tcp: Traffic,
    /// Times a direction went over to the short way.
    pub to_shunt: u64,
    pub to_tcp: ToTcp,
    pub late: Late,
    /// Times that TCP_ULP or SO_ZEROCOPY was refused to a socket in the sockhash.
    pub refused_options: u64,
}

/// How many programs of a pod are remembered; those that come later stay plain TCP.
pub const MAX_PROGRAMS: u64 = 256;

/// Value of the pods map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pod {
    /// An IPv4 address of the pod, 0.0.0.0 if it has none. `pod_ips` has all.
    pub ipv4: [u8; 4],
    /// An IPv6 address of the pod, :: if it has none.
    pub ipv6: [u8; 16],
    /// How many addresses of this pod `pod_ips` has.
    pub addresses: u32,
    pub policy: Policy,
    pub counters: Counters,
    /// How many programs of this pod `habits` has.
    pub programs: u64,
}

/// What became of the pods that a runtime asked for, on the node as a whole.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(serde::Serialize))]
pub struct Node {
    pub accelerated: u64,
    pub not_accelerated: NotAccelerated,
    /// How programs are watched: [`Watch`].
    pub watch: u64,
    /// The errno with which the kernel refused fentry programs; 0 where it takes them.
    pub no_fentry: u64,
    /// Likewise for kprobes.
    pub no_kprobe: u64,
    /// What FIONREAD counts of a socket in the sockhash: bits of [`Fionread`].
    pub fionread: u64,
}

/// In which cases FIONREAD tells the truth of a socket in the sockhash, found by trial.
pub struct Fionread;

impl Fionread {
    pub const TCP_ONLY: u64 = 1;
    pub const BOTH: u64 = 2;
    pub const DRAINED: u64 = 4;
    pub const REDIRECTED_ONLY: u64 = 8;
    pub const ALL: u64 = 15;
}

/// Why pods stayed without acceleration.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(serde::Serialize))]
pub struct NotAccelerated {
    /// Its cgroup was not found.
    pub no_cgroup: u64,
    /// A sock_ops program on an ancestor cgroup allows no other.
    pub foreign_program: u64,
    /// A map had no room.
    pub full: u64,
    /// The kernel refused otherwise.
    pub refused: u64,
}

/// Where this kernel keeps the fields that the programs read, in bytes, from its BTF; handed to
/// them as a constant when they are loaded.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    pub sock_rcvlowat: u32,
    pub sock_sndbuf: u32,
    pub sock_rcvbuf: u32,
    pub sock_uid: u32,
    /// What the kernel marks the socket's packets with (`skb_hash`).
    pub sock_txhash: u32,
    pub sock_user_data: u32,
    pub sock_socket: u32,
    pub sock_flags: u32,
    /// The bit of SOCK_ZEROCOPY in there.
    pub sock_zerocopy: u32,
    pub sock_err: u32,
    /// In bits, as older kernels have a bit field here.
    pub sock_shutdown_bits: u32,
    pub sock_cookie: u32,
    pub sock_prot: u32,
    pub proto_memory_pressure: u32,
    pub socket_sk: u32,
    pub socket_file: u32,
    pub file_flags: u32,
    /// In bits, as older kernels have a bit field here.
    pub sock_userlocks_bits: u32,
    /// What the socket's receive buffer holds.
    pub sock_rmem_alloc: u32,
    pub tcp_copied_seq: u32,
    pub tcp_write_seq: u32,
    /// The window that was last advertised, and from where it counts.
    pub tcp_rcv_wnd: u32,
    pub tcp_rcv_wup: u32,
    pub tcp_rcv_nxt: u32,
    /// How many probes in a row were not answered.
    pub icsk_probes_out: u32,
    pub psock_ingress_msg: u32,
    /// One, and one more for everybody who is inside send(2) or recv(2).
    pub psock_refcnt: u32,
    pub msghdr_flags: u32,
    /// How many parameters tcp_bpf_recvmsg has: until 5.18 `nonblock` came before `flags`.
    pub recvmsg_parameters: u32,
    pub skb_hash: u32,
    pub task_comm: u32,
    pub task_group_leader: u32,
    pub task_files: u32,
    /// 0 where the kernel has no io_uring.
    pub task_io_uring: u32,
    pub io_sr_msg_flags: u32,
    pub files_fdt: u32,
    pub fdtable_fd: u32,
    pub fdtable_max_fds: u32,
    pub file_private_data: u32,
    pub sock_wq: u32,
    pub wait_head: u32,
    pub wait_entry_private: u32,
    pub poll_polling_task: u32,
    pub wait_entry_link: u32,
    /// In bits; `u32::MAX` where the kernel has no MPTCP.
    pub tcp_is_mptcp_bits: u32,
    /// In bits; `u32::MAX` where it is not there.
    pub tcp_syn_smc_bits: u32,
    /// A byte: flags of the callbacks that sock_ops programs asked for.
    pub tcp_callback_flags: u32,
    /// Where a kprobe, and the tracepoint of system calls, find the first six parameters.
    pub function_registers: [u32; 6],
    pub syscall_registers: [u32; 6],
    pub syscalls: Syscalls,
    /// The packet in the context of a sock_ops program, as the kernel has it.
    pub sock_ops_skb: u32,
    /// Index of the device that it came in by.
    pub skb_iif: u32,
    /// Size of `struct sk_msg`: what a queued message costs beside its bytes.
    pub sk_msg_size: u32,
    /// 1: programs set options as applications do (from Linux 6.1 on).
    pub has_sk_setsockopt: u32,
    /// 0, as all of `memcg`: this kernel has none.
    pub sock_memcg: u32,
    pub memcg_memory: u32,
    pub memcg_socket_pressure: u32,
    pub memcg_nodeinfo: u32,
    pub memcg_lru_zone_size: u32,
    /// 0, as the next two: memory cgroups of version 2 only.
    pub memcg_tcpmem: u32,
    pub memcg_tcpmem_active: u32,
    pub memcg_tcpmem_pressure: u32,
    pub counter_high: u32,
    pub counter_max: u32,
    pub counter_parent: u32,
    /// Bytes in the psock's queue; 0: this kernel does not count them.
    pub psock_msg_tot_len: u32,
    /// CONFIG_HZ.
    pub jiffies_per_second: u32,
    /// [`Watch`].
    pub watch: u32,
    /// [`Fionread`].
    pub fionread: u32,
    /// 1: a socket that an MPTCP listener accepted may be in the sockhash.
    pub mptcp_is_safe: u32,
}

/// Numbers of system calls on this architecture. Those that it lacks are `u32::MAX`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syscalls {
    pub read: u32,
    pub readv: u32,
    pub recvfrom: u32,
    pub recvmsg: u32,
    pub recvmmsg: u32,
    pub sendto: u32,
    pub sendmsg: u32,
    pub sendmmsg: u32,
    pub ioctl: u32,
    pub splice: u32,
}

impl Syscalls {
    pub const NONE: Self = Self {
        read: 0,
        readv: 0,
        recvfrom: 0,
        recvmsg: 0,
        recvmmsg: 0,
        sendto: 0,
        sendmsg: 0,
        sendmmsg: 0,
        ioctl: 0,
        splice: 0,
    };
}

/// No padding where fields of different sizes meet: user space takes the values as bytes.
const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<Policy>() == 16 + 2 * MAX_EXCLUDED_PORTS + 32 * MAX_SERVICE_CIDRS);
    assert!(offset_of!(Pod, policy) == 4 + 16 + 4);
    assert!(offset_of!(Pod, counters) == offset_of!(Pod, policy) + size_of::<Policy>());
    assert!(size_of::<Pod>() == offset_of!(Pod, programs) + 8);
    assert!(size_of::<Attached>() == 16 + MAX_NETWORK + MAX_NAMESPACE + MAX_POD_NAME);
};

impl Offsets {
    pub const ZERO: Self = Self {
        sock_rcvlowat: 0,
        sock_sndbuf: 0,
        sock_rcvbuf: 0,
        sock_uid: 0,
        sock_txhash: 0,
        sock_user_data: 0,
        sock_socket: 0,
        sock_flags: 0,
        sock_zerocopy: 0,
        sock_err: 0,
        sock_shutdown_bits: 0,
        sock_cookie: 0,
        sock_prot: 0,
        proto_memory_pressure: 0,
        socket_sk: 0,
        socket_file: 0,
        file_flags: 0,
        sock_userlocks_bits: 0,
        sock_rmem_alloc: 0,
        tcp_copied_seq: 0,
        tcp_write_seq: 0,
        tcp_rcv_wnd: 0,
        tcp_rcv_wup: 0,
        tcp_rcv_nxt: 0,
        icsk_probes_out: 0,
        psock_ingress_msg: 0,
        psock_refcnt: 0,
        msghdr_flags: 0,
        recvmsg_parameters: 0,
        skb_hash: 0,
        task_comm: 0,
        task_group_leader: 0,
        task_files: 0,
        task_io_uring: 0,
        io_sr_msg_flags: 0,
        files_fdt: 0,
        fdtable_fd: 0,
        fdtable_max_fds: 0,
        file_private_data: 0,
        sock_wq: 0,
        wait_head: 0,
        wait_entry_private: 0,
        poll_polling_task: 0,
        wait_entry_link: 0,
        tcp_is_mptcp_bits: 0,
        tcp_syn_smc_bits: 0,
        tcp_callback_flags: 0,
        function_registers: [0; 6],
        syscall_registers: [0; 6],
        syscalls: Syscalls::NONE,
        sock_ops_skb: 0,
        skb_iif: 0,
        sk_msg_size: 0,
        has_sk_setsockopt: 0,
        sock_memcg: 0,
        memcg_memory: 0,
        memcg_socket_pressure: 0,
        memcg_nodeinfo: 0,
        memcg_lru_zone_size: 0,
        memcg_tcpmem: 0,
        memcg_tcpmem_active: 0,
        memcg_tcpmem_pressure: 0,
        counter_high: 0,
        counter_max: 0,
        counter_parent: 0,
        psock_msg_tot_len: 0,
        jiffies_per_second: 0,
        watch: 0,
        fionread: 0,
        mptcp_is_safe: 0,
    };
}
