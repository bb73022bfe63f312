//! What sockets in the sockhash are used for that needs TCP, as seen by fentry programs.
//!
//! The mark is set before the kernel's function does anything, so whoever sees what that did (bytes
//! of TCP were read) sees the mark too. 5.10 has no socket storage for such programs: hence a map.
//!
//! But a mark can be missing. The kernel leaves out a program that is on its processor already
//! (`recursion_misses` in bpftool): also one that was preempted there, and then for whoever has the
//! processor next. So the short way opens only to who was seen to use recv(2).

use aya_ebpf::{bindings::BPF_ANY, programs::FEntryContext};
use shim::layout::{Cookie, End, Flow, Odd};

use crate::{
    kernel,
    maps::{self, ODD, add},
    message::ByTcp,
    seen::Seen,
    socket,
    word::Word,
};

const MSG_OOB: u32 = 0x1;
const MSG_PEEK: u32 = 0x2;
const MSG_DONTWAIT: u32 = 0x40;
const MSG_WAITALL: u32 = 0x100;

/// Whether [`on_sendmsg`] runs before messages: where it does not, nothing is ever marked.
static WATCHES: Seen = Seen::not_yet();
/// Whether there is any mark: most nodes never have one.
static MARKS: Seen = Seen::not_yet();

#[inline(always)]
pub fn is_watched() -> bool {
    WATCHES.is_seen()
}

/// Every TCP socket of the node comes by here.
#[inline(always)]
pub fn on_splice(ctx: &FEntryContext) {
    let Some(sock) = kernel::read::<u64>(ctx.arg(0), kernel::offsets().socket_sk) else { return };
    if socket::psock(sock).is_some() {
        mark(sock, |odd| odd.splice = 1);
    }
}

/// Without waiting, MSG_WAITALL means nothing.
#[inline(always)]
pub fn on_recvmsg(ctx: &FEntryContext) {
    let fourth = ctx.arg::<u64>(3) as u32;
    let (flags, waits) = if kernel::offsets().recvmsg_parameters == 6 {
        (ctx.arg::<u64>(4) as u32, fourth == 0)
    } else {
        (fourth, fourth & MSG_DONTWAIT == 0)
    };
    if flags & MSG_WAITALL != 0 && waits {
        mark(ctx.arg(0), |odd| odd.waitall = 1);
    } else if flags & MSG_PEEK == 0 {
        see_reader(ctx.arg(0));
    }
}

/// Sockets that used recv(2), each in the place that its cookie gives it: forgotten when another
/// takes that place, and seen again with their next recv(2).
static READERS: [Word; 1 << 14] = [const { Word::zero() }; 1 << 14];

#[inline(always)]
fn see_reader(sock: u64) {
    if let Some(cookie) = kernel::read::<Cookie>(sock, kernel::offsets().sock_cookie) {
        place(cookie).put(cookie);
    }
}

#[inline(always)]
fn was_seen_to_read(socket: Cookie) -> bool {
    place(socket).get() == socket
}

#[inline(always)]
fn place(socket: Cookie) -> &'static Word {
    &READERS[socket as usize % READERS.len()]
}

#[inline(always)]
pub fn on_sendmsg(ctx: &FEntryContext) {
    WATCHES.see();
    let flags = kernel::read::<u32>(ctx.arg(1), kernel::offsets().msghdr_flags).unwrap_or(0);
    if flags & MSG_OOB != 0 {
        mark(ctx.arg(0), |odd| odd.oob = 1);
    }
}

#[inline(always)]
fn mark(sock: u64, set: impl Fn(&mut Odd)) {
    let Some(cookie) = kernel::read::<Cookie>(sock, kernel::offsets().sock_cookie) else { return };
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
fn of<'a>(socket: Cookie) -> Option<&'a mut Odd> {
    if !MARKS.is_seen() {
        return None;
    }
    // SAFETY: as in `mark`.
    ODD.get_ptr_mut(socket).map(|odd| unsafe { &mut *odd })
}

/// Whether the two ends of a flow are used in no way that needs TCP. To be asked after
/// [`crate::order::allows`].
#[inline(always)]
pub fn allows(flow: &Flow) -> Result<(), ByTcp> {
    if of(flow.own.cookie).is_some_and(|own| own.oob != 0) {
        return Err(ByTcp::UrgentData);
    }
    if of(flow.peer.cookie).is_some_and(|peer| peer.splice | peer.waitall != 0) {
        return Err(ByTcp::Turned);
    }
    let opens = flow.mode != Flow::SHUNT && is_watched();
    if opens && !was_seen_to_read(flow.peer.cookie) { Err(ByTcp::Unread) } else { Ok(()) }
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
