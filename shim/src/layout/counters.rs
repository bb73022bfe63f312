//! What is counted for each pod.

use super::Distrust;

/// Counters of one pod. They only grow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(serde::Serialize, derive_more::AddAssign))]
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

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(serde::Serialize, derive_more::AddAssign))]
pub struct Traffic {
    pub messages: u64,
    pub bytes: u64,
}

/// Why a connection end of this pod stayed plain TCP.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(serde::Serialize, derive_more::AddAssign))]
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
#[cfg_attr(feature = "std", derive(serde::Serialize, derive_more::AddAssign))]
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
    /// Connections of its program to that port end before the short way has saved what it takes to let them in.
    pub brief: u64,
    /// Nothing: so that four bits of an index name a counter.
    #[cfg_attr(feature = "std", serde(skip))]
    pub reserved: Reserved,
}

#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserved([u64; 3]);

#[cfg(feature = "std")]
impl core::ops::AddAssign for Reserved {
    fn add_assign(&mut self, _: Self) {}
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
    pub const BRIEF: u32 = 12;

    pub fn total(&self) -> u64 {
        let Self { learning, sleeps, splices, counts_unread, waits_for_all, .. } = *self;
        let Self { zerocopy, batches, listener, peer, observed, left, refused, brief, .. } = *self;
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
            + brief
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
#[cfg_attr(feature = "std", derive(serde::Serialize, derive_more::AddAssign))]
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
#[cfg_attr(feature = "std", derive(serde::Serialize, derive_more::AddAssign))]
pub struct Late {
    /// By splice(2).
    pub splice: u64,
    /// As FIONREAD says, where the kernel counts wrong.
    pub fionread: u64,
    /// With MSG_WAITALL, in blocking mode.
    pub waitall: u64,
}
