//! What is known of programs, and which sockets are theirs.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use shim::layout::*;

use super::maps::{self, CHANGES, HABITS, WATCHED, add};
use crate::kernel::{fields, psock, sock};

/// Exchanges that make a program known. One is too few: haproxy reads an answer's body by recv(2) where it
/// comes with the header, and else by splice(2).
const ENOUGH: u32 = 8;
/// Reads after which a program that has peeked is done with that: some peek at a connection's begin only.
const PEEKS: u32 = 16;
/// More than this was not read at once, but is a mistake.
const SENSIBLE: u32 = 1 << 30;

/// How often what is known has changed: who has looked something up need not again before that.
#[inline(always)]
pub fn changes() -> u64 {
    CHANGES.get(0).copied().unwrap_or(0)
}

#[inline(always)]
fn changed() {
    if let Some(changes) = CHANGES.get_ptr_mut(0) {
        // SAFETY: only ever added to.
        add(unsafe { &mut *changes }, 1);
    }
}

#[inline(always)]
pub fn of<'a>(program: &Program) -> Option<&'a mut Habit> {
    // SAFETY: the kernel keeps the value until the program ends; its words are whole at any time.
    HABITS.get_ptr_mut(program).map(|habit| unsafe { &mut *habit })
}

/// Remembers a program from now on. `None`: there is no room.
#[inline(always)]
pub fn of_or_new<'a>(pod: &mut Pod, program: &Program) -> Option<&'a mut Habit> {
    if let Some(known) = of(program) {
        return Some(known);
    }
    if pod.programs >= MAX_PROGRAMS {
        return None;
    }
    if HABITS.insert(program, Habit::default(), BPF_NOEXIST.into()).is_ok() {
        add(&mut pod.programs, 1);
    }
    of(program)
}

/// Another program listens now where one did whose name the configuration has: it is to earn its trust.
#[inline(always)]
pub fn is_named_no_more(program: &Program) {
    if let Some(habit) = of(program)
        && habit.named != 0
    {
        (habit.named, habit.polls) = (0, 0);
        (habit.trusted, habit.exchanges) = (0, 0);
        changed();
    }
}

/// What was learnt of who listened there before is not known of who does now: it may sleep.
#[inline(always)]
pub fn may_be_another(program: &Program) {
    if let Some(habit) = of(program)
        && habit.trusted == Habit::LEARNED
        && habit.tolerant == 0
    {
        (habit.trusted, habit.exchanges) = (0, 0);
        changed();
    }
}

/// Watches a socket of that program. False: there is no room, so nothing would be seen of it.
#[inline(always)]
pub fn watch(own: &End, program: &Program) -> bool {
    let copied = fields::read::<u32>(own.sock, fields::offsets().tcp_copied_seq).unwrap_or(0);
    let peeks = of(program).map_or(0, |habit| habit.peeks * PEEKS);
    let watched = Watched { program: *program, copied, peeks, ..Watched::default() };
    WATCHED.insert(own.cookie, watched, BPF_ANY.into()).is_ok()
}

#[inline(always)]
pub fn forget(cookie: Cookie) {
    let _ = WATCHED.remove(cookie);
}

#[inline(always)]
pub fn watched<'a>(cookie: Cookie) -> Option<&'a mut Watched> {
    // SAFETY: as in `of`.
    WATCHED.get_ptr_mut(cookie).map(|watched| unsafe { &mut *watched })
}

/// What is known of the program that has a socket.
#[inline(always)]
pub fn of_socket<'a>(cookie: Cookie) -> Option<&'a mut Habit> {
    // Copied, as 5.10 takes no key from the value of such a map.
    let program = watched(cookie)?.program;
    of(&program)
}

/// Something that was read has been answered, or the connection ends.
#[inline(always)]
pub fn exchanged(sock: u64, watched: &mut Watched) {
    watched.reads = 0;
    let copied = fields::read::<u32>(sock, fields::offsets().tcp_copied_seq).unwrap_or(0);
    let read = copied.wrapping_sub(watched.copied);
    watched.copied = copied;
    let program = watched.program;
    let Some(habit) = of(&program) else { return };
    habit.exchanges = habit.exchanges.saturating_add(1);
    let is_more = read > habit.largest && read < SENSIBLE;
    if is_more {
        habit.largest = read;
    }
    if habit.exchanges >= ENOUGH && (is_more || habit.trusted != Habit::LEARNED) {
        habit.trusted = Habit::LEARNED;
        changed();
    }
}

/// A socket is in non-blocking mode, of a program whose reads nobody may watch.
#[inline(always)]
pub fn never_blocks(cookie: Cookie) {
    if let Some(habit) = of_socket(cookie)
        && habit.waits.nonblocking == 0
    {
        habit.waits.nonblocking = 1;
    }
}

/// The socket is peeked at, or read.
#[inline(always)]
pub fn peeks(watched: &mut Watched, peeks: bool) {
    if !peeks {
        if watched.peeks != 0 {
            watched.peeks -= 1;
        }
        return;
    }
    watched.peeks = PEEKS;
    let program = watched.program;
    if let Some(habit) = of(&program) {
        habit.peeks = 1;
    }
}

/// A bad sign of a socket, which a watcher sees before the kernel acts on it; counted once a socket.
#[inline(always)]
pub fn bad_sign(sock: u64, watched: &mut Watched, sign: u32) {
    if watched.seen & sign != 0 {
        return;
    }
    watched.seen |= sign;
    let program = watched.program;
    if let Some(habit) = of(&program) {
        let count = match sign {
            Watched::SPLICE => &mut habit.bad.splice,
            Watched::FIONREAD => &mut habit.bad.fionread,
            Watched::WAITALL => &mut habit.bad.waitall,
            Watched::URGENT => &mut habit.bad.urgent,
            Watched::ZEROCOPY => &mut habit.bad.zerocopy,
            Watched::BATCHES => &mut habit.bad.batches,
            Watched::SWITCHES => &mut habit.waits.switches,
            _ => &mut habit.waits.sleeps,
        };
        *count = count.saturating_add(1);
    }
    changed();
    if sign & Watched::MISSES != 0 && psock::of(sock).is_some() && !psock::is_empty(sock) {
        count_late(program.pod, sign);
    }
}

/// A reader that was handed bytes does for the first time what does not see them.
#[inline(always)]
fn count_late(pod: PodId, sign: u32) {
    let Some(pod) = maps::pod(pod) else { return };
    let late = &mut pod.counters.late;
    match sign {
        Watched::SPLICE => add(&mut late.splice, 1),
        Watched::FIONREAD => add(&mut late.fionread, 1),
        _ => add(&mut late.waitall, 1),
    }
}

/// The socket at an address, if it is watched.
#[inline(always)]
pub fn watched_socket<'a>(address: u64) -> Option<&'a mut Watched> {
    if !sock::has_callbacks(address) {
        return None;
    }
    watched(sock::cookie(address)?)
}
