//! Watchers (fentry, kprobe, or the raw tracepoint sys_enter): how programs use their sockets, seen
//! before the kernel does it, on plain TCP as well as in the sockhash.
//!
//! The kernel leaves out a program that is on its processor already (`recursion_misses` in bpftool):
//! also one that was preempted there, and then for whoever has the processor next. So that no sign
//! was seen proves nothing; that recv(2) was seen does.

use shim::layout::{Fionread, Watched};

use crate::{
    kernel::{fields, psock, sock, task},
    state::habits,
};

pub const MSG_OOB: u32 = 0x1;
pub const MSG_PEEK: u32 = 0x2;
pub const MSG_DONTWAIT: u32 = 0x40;
pub const MSG_WAITALL: u32 = 0x100;
/// asm-generic/ioctls.h; SIOCINQ is the same.
pub const FIONREAD: u32 = 0x541b;

/// recv(2), or read(2): `flags` has MSG_DONTWAIT also where the file is in non-blocking mode.
#[inline(always)]
pub fn reads(sock: u64, flags: u32) {
    let Some(watched) = habits::watched_socket(sock) else { return };
    habits::peeks(watched, flags & MSG_PEEK != 0);
    let waits = flags & MSG_DONTWAIT == 0;
    let is_known = watched.reads != 0 && watched.seen & Watched::AWAKE != 0;
    if !waits && is_known {
        return;
    }
    if waits && flags & MSG_WAITALL != 0 {
        habits::bad_sign(sock, watched, Watched::WAITALL);
    }
    let redirected = psock::of(sock).is_some() && !psock::is_empty(sock);
    let there = redirected || sock::has_something(sock);
    if waits && !there {
        return sleeps(sock, watched);
    }
    if there && watched.reads == 0 {
        watched.reads = 1;
        let program = watched.program;
        let Some(habit) = habits::of(&program) else { return };
        let count = if waits { &mut habit.waits.polls } else { &mut habit.waits.nonblocking };
        *count = count.saturating_add(1);
    }
    if there && !waits {
        watched.seen |= Watched::AWAKE;
        switches(sock, watched);
    }
}

/// One socket is seen in both modes.
#[inline(always)]
fn switches(sock: u64, watched: &mut Watched) {
    let both = Watched::AWAKE | Watched::SLEEPS;
    if watched.seen & both == both {
        habits::bad_sign(sock, watched, Watched::SWITCHES);
    }
}

#[inline(always)]
fn sleeps(sock: u64, watched: &mut Watched) {
    habits::bad_sign(sock, watched, Watched::SLEEPS);
    switches(sock, watched);
    watched.reads = 1;
    let program = watched.program;
    if let Some(habit) = habits::of(&program)
        && let Some(name) = task::process_name()
    {
        habit.sleeper = name;
    }
}

#[inline(always)]
pub fn splices(sock: u64) {
    if let Some(watched) = habits::watched_socket(sock) {
        habits::bad_sign(sock, watched, Watched::SPLICE);
    }
}

/// ioctl(2) with FIONREAD.
#[inline(always)]
pub fn asks(sock: u64) {
    let Some(watched) = habits::watched_socket(sock) else { return };
    if fields::fionread() != Fionread::ALL {
        habits::bad_sign(sock, watched, Watched::FIONREAD);
    }
}

/// send(2).
#[inline(always)]
pub fn sends(sock: u64, flags: u32) {
    if flags & MSG_OOB != 0
        && let Some(watched) = habits::watched_socket(sock)
    {
        habits::bad_sign(sock, watched, Watched::URGENT);
    }
}

/// sendmmsg(2), which goes on with the next message unless one was sent in part.
#[inline(always)]
pub fn sends_batch(sock: u64, file: u64, flags: u32) {
    if flags & MSG_DONTWAIT != 0 || sock::is_nonblocking(file) {
        goes_on(sock);
    }
}

/// A call that sends again what was sent in part: of a socket in a sockhash the kernel forgets which part.
#[inline(always)]
pub fn goes_on(sock: u64) {
    if let Some(watched) = habits::watched_socket(sock) {
        habits::bad_sign(sock, watched, Watched::BATCHES);
    }
}

/// io_uring's SEND_ZC or SENDMSG_ZC.
#[inline(always)]
pub fn sends_zerocopy(sock: u64) {
    if let Some(watched) = habits::watched_socket(sock) {
        habits::bad_sign(sock, watched, Watched::ZEROCOPY);
    }
}
