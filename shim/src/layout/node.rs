//! What is known of the node as a whole.

use super::Counters;

/// What became of the pods that a runtime asked for, on the node as a whole.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(serde::Serialize))]
pub struct Node {
    pub accelerated: u64,
    pub not_accelerated: NotAccelerated,
    /// How programs are watched: [`Watch`](super::Watch).
    pub watch: u64,
    /// The errno with which the kernel refused fentry programs; 0 where it takes them.
    pub no_fentry: u64,
    /// Likewise for kprobes.
    pub no_kprobe: u64,
    /// What FIONREAD counts of a socket in the sockhash: bits of [`Fionread`].
    pub fionread: u64,
    /// Of pods that are gone: a sum over those that are there would fall when one goes.
    pub gone: Counters,
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

impl NotAccelerated {
    pub fn total(&self) -> u64 {
        let Self { no_cgroup, foreign_program, full, refused } = *self;
        no_cgroup + foreign_program + full + refused
    }
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
