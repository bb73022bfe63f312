//! Sockets that were seen to be used in a way that needs TCP, and sockets that were seen to be read
//! by recv(2).
//!
//! A mark is set before the kernel's function does anything, so whoever sees what that did (bytes
//! of TCP were read) sees the mark too. 5.10 has no socket storage for such programs: hence a map.
//!
//! But a mark can be missing. The kernel leaves out a program that is on its processor already
//! (`recursion_misses` in bpftool): also one that was preempted there, and then for whoever has the
//! processor next. So the short way opens only to who was seen to use recv(2).

use aya_ebpf::bindings::BPF_ANY;
use shim::layout::{Cookie, End, Odd};

use super::{
    maps::{self, ODD, add},
    shared::{Seen, Word},
};
use crate::kernel::fields;

/// Whether the watcher of messages runs: where it does not, nothing is ever marked.
pub static WATCHES: Seen = Seen::not_yet();
/// Whether there is any mark: most nodes never have one.
static MARKS: Seen = Seen::not_yet();

#[inline(always)]
pub fn is_watched() -> bool {
    WATCHES.is_seen()
}

/// Sockets that used recv(2), each in the place that its cookie gives it: forgotten when another
/// takes that place, and seen again with their next recv(2).
static READERS: [Word; 1 << 14] = [const { Word::zero() }; 1 << 14];

#[inline(always)]
pub fn see_reader(sock: u64) {
    if let Some(cookie) = fields::read::<Cookie>(sock, fields::offsets().sock_cookie) {
        place(cookie).put(cookie);
    }
}

#[inline(always)]
pub fn was_seen_to_read(socket: Cookie) -> bool {
    place(socket).get() == socket
}

#[inline(always)]
fn place(socket: Cookie) -> &'static Word {
    &READERS[socket as usize % READERS.len()]
}

#[inline(always)]
pub fn mark(sock: u64, set: impl Fn(&mut Odd)) {
    let Some(cookie) = fields::read::<Cookie>(sock, fields::offsets().sock_cookie) else { return };
    if let Some(odd) = ODD.get_ptr_mut(cookie) {
        // SAFETY: words, each of which only ever turns from 0 to 1.
        return set(unsafe { &mut *odd });
    }
    let mut odd = Odd::default();
    set(&mut odd);
    let _ = ODD.insert(cookie, odd, BPF_ANY.into());
    MARKS.see();
}

#[inline(always)]
pub fn of<'a>(socket: Cookie) -> Option<&'a mut Odd> {
    if !MARKS.is_seen() {
        return None;
    }
    // SAFETY: as in `mark`.
    ODD.get_ptr_mut(socket).map(|odd| unsafe { &mut *odd })
}

/// Counts a socket that was handed bytes and then read in a way that may have missed them.
#[inline(always)]
pub fn count_turned(end: &End) {
    let Some(odd) = of(end.cookie) else { return };
    if odd.counted != 0 {
        return;
    }
    odd.counted = 1;
    if let Some(pod) = maps::pod(end.pod) {
        add(&mut pod.counters.turned.splice, odd.splice.into());
        add(&mut pod.counters.turned.waitall, odd.waitall.into());
    }
}
