//! What is known of connections and their sockets.

use super::{Cookie, PodId};

/// Key of the listeners map: whoever of a pod listens on a port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Listening {
    pub pod: PodId,
    pub port: u64,
}

/// Value of the listeners map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Listener {
    /// [`Listener::PLAIN`], [`Listener::MPTCP`] or [`Listener::FOREIGN`].
    pub kind: u32,
    /// 1: its task used io_uring, so that its mode does not tell how what it accepts is read; or it was in blocking
    /// mode as user space has found it, or as another began to listen there.
    pub obscure: u16,
    /// 1: nothing was accepted since it began to listen.
    pub is_new: u16,
    /// Address of its `struct sock`, by which its mode is found; 0: user space has found it.
    pub sock: u64,
    pub cookie: Cookie,
}

impl Listener {
    /// TCP's own, which the program saw listen, or user space has found.
    pub const PLAIN: u32 = 1;
    /// MPTCP's.
    pub const MPTCP: u32 = 2;
    /// SMC's, or another's that has the socket for itself.
    pub const FOREIGN: u32 = 3;
}

/// Entries of the pairs map where a node has few processors.
pub const MIN_PAIRS: usize = 8192;
/// Likewise of that for sockets that listen.
pub const MIN_LISTENERS: usize = 4096;
/// Entries of the connecting map. The kernel gives cookies to each processor by 4096.
pub const MAX_CONNECTING: usize = 8192;

/// Entries of the sockets map, and of those that are watched, where a node has little memory: both ends of 32 Ki
/// connections.
pub const MIN_SOCKETS: usize = 65536;

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
///
/// In the order of who writes a line of memory, and how often: a line that one processor writes with each
/// message is read slowly by another. The kernel puts 8 bytes of its own before it, in the first line.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    // Read by the peer with each message, and seldom written: the first line of memory.
    pub own: End,
    pub pair: Pair,
    /// [`Flow::ENTERED`], [`Flow::SETTLED`], [`Flow::LEAVING`] or [`Flow::PLAIN`].
    pub stage: u32,
    /// 1: who sends has to look at the socket, as SO_RCVLOWAT was set, or one of the two ends the connection.
    pub exceptional: u32,

    // Read with each message, and seldom written: the second.
    pub peer: End,
    /// Address of the peer's `struct file`, which has its O_NONBLOCK; 0 until it was accepted.
    pub peer_file: u64,
    /// [`CHANGES`](super::name::CHANGES) plus one when `peer_trust` was looked up. 0: never.
    pub peer_checked: u64,
    /// [`Trust`](super::Trust) in the peer's program; 0: none.
    pub peer_trust: u16,
    /// 1: this socket sends urgent data.
    pub urgent: u16,
    /// How many bytes may be handed over until the peer sends something; `u32::MAX`: any.
    pub allowed: u32,

    // Written with each message: the third.
    /// [`Flow::TCP`] or [`Flow::SHUNT`].
    pub mode: u32,
    /// Own `write_seq` while nothing goes by TCP: it must not move then.
    pub tcp_seq: u32,
    /// Bytes of kernel memory that may still go into the peer's queue.
    pub budget: u32,
    /// What the budget was when it was last renewed; 0: never. It grows with a reader that reads.
    pub grant: u32,
    /// Jiffies from which on a message is to go by TCP, see `ebpf/src/rules/heartbeat.rs`; 0: not set.
    pub due: u64,
    /// What its pod's counters do not have yet.
    pub pending: Pending,
    /// Messages that were sent, modulo 2^32. Read by the peer now and then.
    pub messages: u32,
    /// Those that are large to `ebpf/src/rules/bulk.rs`. Read by the peer, with `messages`.
    pub large: u32,
    /// Bytes that were sent since the peer last sent something.
    pub run: u32,
    /// Bytes that were handed over, modulo 2^32.
    pub handed: u32,
    // And with some messages.
    /// What TCP had to carry since, as `ebpf/src/rules/bulk.rs` counts it.
    pub bulk: u32,
    /// `messages` of the peer when it was last seen to have grown.
    pub heard: u32,
    /// `messages` of the peer when `run` began.
    pub run_after: u32,
    /// `handed` when the budget was last renewed.
    pub renewed_at: u32,

    // Seldom written.
    /// Not 0 once anything may have been handed to the peer. Read by the peer.
    pub fed: u64,
    /// [`Trust`](super::Trust) in the own program; 0: none.
    pub trusted: u32,
    /// The callback flags that shunt has set for the socket, to be cleared when they are needed no
    /// more.
    pub callbacks: u16,
    /// 1: its socket has been in the sockhash, in this connection or one before.
    pub was_in: u16,
    /// Like `peer_checked`, for the own program.
    pub own_checked: u64,
    /// Of its pod's [`Policy`](super::Policy), when `peer_trust` was looked up.
    pub heartbeat: u32,
    pub queue_limit: u32,
    /// [`Reasons::LEARNING`](super::Reasons::LEARNING) and so on: why it is [`Flow::PLAIN`].
    pub why: u32,
    /// Own `write_seq` when the short way was last left. Read by the peer, with packets.
    pub seam: u32,

    // Written now and then.
    /// By how much small messages outnumbered large ones when bulk was last looked at, modulo 2^32:
    /// own, and the peer's.
    pub excess: [u32; 2],
    /// Bytes that were sent by TCP and counted.
    pub tcp_bytes: u64,
    /// Own `write_seq` up to which they are counted.
    pub counted: u32,
    /// What of `grant` belongs to messages that were unread when it was renewed.
    pub carried: u32,
    /// Own `write_seq` plus `messages` at the last look at what was sent.
    pub sent_seq: u32,
    /// The peer's `seam` behind which the reader was told of what is unread.
    pub told: u32,
    pub keepalive: Keepalive,
}

/// What a socket has sent the short way, and its pod's counters do not have.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Pending {
    pub messages: u32,
    pub bytes: u32,
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

/// What [`INSPECT`](super::name::INSPECT) tells of a socket in the sockhash. It is the packet that the program runs
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
