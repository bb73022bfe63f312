//! What is known of programs: how they read from their sockets, as seen on plain TCP.

use super::{Cookie, MAX_CONNECTING, PodId, Policy};

/// TASK_COMM_LEN of linux/sched.h.
pub const MAX_PROGRAM: usize = 16;

/// Key of the habits map: all sockets that a pod accepts on one port, or all that one program of it
/// connects.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Program {
    pub pod: PodId,
    /// For sockets that connect: what their process is called (the comm of its first thread, as the
    /// other threads often have names of their own). All zeroes for those that are accepted.
    pub name: [u8; MAX_PROGRAM],
    /// For accepted sockets: the port that was listened on. 0 for those that connect.
    pub port: u16,
    /// 1: sockets that were in blocking mode when they were connected. Runtimes use those otherwise
    /// than the rest (the JDK's `Socket` and its NIO).
    pub blocking: u16,
    pub reserved: u32,
}

/// Value of the habits map. How many times each was seen; counts may miss some, never invent one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(serde::Serialize))]
pub struct Habit {
    /// 0: not known yet, [`Habit::LEARNED`] or [`Habit::NAMED`]. A bad sign counts for more.
    pub trusted: u32,
    /// Connections that were looked at.
    pub connections: u32,
    /// Times that something was read, and then something was sent or the connection ended.
    pub exchanges: u32,
    pub waits: Waits,
    pub bad: BadSigns,
    /// What the process is called that last slept in recv(2), as in [`Program`].
    pub sleeper: [u8; MAX_PROGRAM],
    /// 1: the sleeper takes EAGAIN as "try again", so that it loses nothing.
    pub tolerant: u32,
    /// 1: the configuration has its name; it may have been seen to earn its trust since.
    pub named: u32,
    /// 1: the configuration says that it waits in epoll, poll or select in blocking mode too.
    pub polls: u32,
    /// Most bytes that were read between two things sent: it is handed no more at once.
    pub largest: u32,
    /// 1: it looks at bytes with MSG_PEEK before it reads them.
    pub peeks: u32,
    /// Of those that connect, for the ports of each remainder modulo 16: messages that connections have sent the
    /// short way, less what it takes to let one in. See `ebpf/src/rules/worth.rs`.
    pub worth: [i16; 16],
    /// Connections that were left alone as they are worth nothing.
    pub left_alone: u32,
}

/// When the sockets of a program may be handed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// While they are in non-blocking mode.
    NonBlocking = 1,
    /// While nobody sleeps in their recv(2).
    Awake = 2,
    /// At any time.
    Always = 3,
}

/// How a program was seen to wait for data, as of the moment that it called recv(2).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(serde::Serialize))]
pub struct Waits {
    /// In non-blocking mode.
    pub nonblocking: u32,
    /// In blocking mode, but something was there: it waits in epoll, poll or select.
    pub polls: u32,
    /// In blocking mode with nothing there: it sleeps in recv(2).
    pub sleeps: u32,
    /// One socket slept in blocking mode, and was read in non-blocking mode before or after.
    pub switches: u32,
}

/// What a program was seen to do that needs plain TCP.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(serde::Serialize))]
pub struct BadSigns {
    /// splice(2) from the socket does not see what was handed over.
    pub splice: u32,
    /// FIONREAD, on a kernel that counts wrong there.
    pub fionread: u32,
    /// MSG_WAITALL in blocking mode is not kept.
    pub waitall: u32,
    /// MSG_OOB.
    pub urgent: u32,
    /// SO_ZEROCOPY, or io_uring's SEND_ZC.
    pub zerocopy: u32,
    /// sendmmsg(2), or io_uring's SEND with MSG_WAITALL, in non-blocking mode: where a message is sent in
    /// part, sockets in a sockhash take it for whole, and the next one follows. Also io_uring, where
    /// what it does cannot be seen.
    pub batches: u32,
}

/// Why the sockets of a program are left to TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distrust {
    NotKnownYet,
    Sleeps,
    Splices,
    CountsUnread,
    WaitsForAll,
    ZeroCopy,
    Batches,
}

impl Habit {
    /// From whole exchanges on plain TCP with good signs only.
    pub const LEARNED: u32 = 1;
    /// By its name in the configuration.
    pub const NAMED: u32 = 2;

    /// Whether sockets of such a program may be handed bytes, in a pod of that policy. MSG_OOB matters
    /// to the one connection only.
    #[inline(always)]
    pub fn judge(&self, policy: &Policy) -> Result<Trust, Distrust> {
        let BadSigns { splice, fionread, waitall, zerocopy, batches, .. } = self.bad;
        if splice != 0 {
            return Err(Distrust::Splices);
        }
        if fionread != 0 {
            return Err(Distrust::CountsUnread);
        }
        if waitall != 0 {
            return Err(Distrust::WaitsForAll);
        }
        if zerocopy != 0 {
            return Err(Distrust::ZeroCopy);
        }
        if batches != 0 {
            return Err(Distrust::Batches);
        }
        let Waits { nonblocking, sleeps, switches, .. } = self.waits;
        let may_sleep = self.tolerant != 0 || policy.blocking != 0;
        let sleeps = sleeps != 0 && !may_sleep;
        if sleeps && (nonblocking == 0 || switches != 0) {
            return Err(Distrust::Sleeps);
        }
        match self.trusted {
            0 => Err(Distrust::NotKnownYet),
            // Some of its sockets sleep, others never block.
            _ if sleeps => Ok(Trust::NonBlocking),
            _ if may_sleep => Ok(Trust::Always),
            Self::NAMED if self.polls == 0 => Ok(Trust::NonBlocking),
            _ => Ok(Trust::Awake),
        }
    }
}

/// A socket as its connect(2) has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connecting {
    pub name: [u8; MAX_PROGRAM],
    pub is_blocking: bool,
    /// Its task has used io_uring.
    pub has_io_uring: bool,
    /// Connections like this one end too early to gain anything.
    pub is_left_alone: bool,
}

/// Value of the connecting map: a [`Connecting`], until another socket takes its place. Each part says whose it is, as
/// two processors may write one place at the same time: what has parts of two is nobody's.
pub type Word = [u64; MAX_PROGRAM / 4];

const BLOCKING: u8 = 1;
const IO_URING: u8 = 2;
const LEFT_ALONE: u8 = 4;

impl Connecting {
    /// Whose socket it is.
    #[inline(always)]
    pub fn program(&self, pod: PodId) -> Program {
        let blocking = self.is_blocking.into();
        Program { pod, name: self.name, blocking, ..Program::default() }
    }

    #[inline(always)]
    pub fn word(&self, cookie: Cookie) -> Word {
        let mut bytes = self.name;
        // A name ends with a zero, which need not be told.
        bytes[MAX_PROGRAM - 1] = if self.is_blocking { BLOCKING } else { 0 }
            | if self.has_io_uring { IO_URING } else { 0 }
            | if self.is_left_alone { LEFT_ALONE } else { 0 };
        core::array::from_fn(|part| {
            let at = part * 4;
            let own = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
            tag(cookie) << 32 | u64::from(u32::from_ne_bytes(own))
        })
    }

    /// None: it is another's, or of two.
    #[inline(always)]
    pub fn of(word: Word, cookie: Cookie) -> Option<Self> {
        let mut name = [0; MAX_PROGRAM];
        for (part, own) in word.into_iter().enumerate() {
            if own >> 32 != tag(cookie) {
                return None;
            }
            name[part * 4..part * 4 + 4].copy_from_slice(&(own as u32).to_ne_bytes());
        }
        let flags = core::mem::take(&mut name[MAX_PROGRAM - 1]);
        let is = |flag| flags & flag != 0;
        let (is_blocking, has_io_uring, is_left_alone) =
            (is(BLOCKING), is(IO_URING), is(LEFT_ALONE));
        Some(Self { name, is_blocking, has_io_uring, is_left_alone })
    }
}

/// Of all sockets that have one place, this one. Never 0, which is nobody's.
#[inline(always)]
fn tag(cookie: Cookie) -> u64 {
    (cookie / MAX_CONNECTING as u64 + 1) & u64::from(u32::MAX)
}

/// Value of the watched map: a socket of an attached pod, by its cookie.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Watched {
    pub program: Program,
    /// 1: something was read by recv(2) since the last exchange.
    pub reads: u32,
    /// Bits, [`Watched::SPLICE`] and so on: what was counted of this socket.
    pub seen: u32,
    /// `copied_seq` after the last exchange.
    pub copied: u32,
    /// How many reads without MSG_PEEK it takes until the program is not expected to peek any more.
    pub peeks: u32,
}

impl Watched {
    pub const SPLICE: u32 = 1;
    pub const FIONREAD: u32 = 2;
    pub const WAITALL: u32 = 4;
    pub const URGENT: u32 = 8;
    pub const ZEROCOPY: u32 = 16;
    pub const SLEEPS: u32 = 32;
    pub const BATCHES: u32 = 64;
    /// Not bad by itself: read in non-blocking mode.
    pub const AWAKE: u32 = 128;
    pub const SWITCHES: u32 = 256;
    /// Those for which a socket that was handed bytes may have missed some.
    pub const MISSES: u32 = Self::SPLICE | Self::FIONREAD | Self::WAITALL;
}

/// How programs are watched on this node: the first that the kernel takes, unless the configuration
/// says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "std",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "lowercase")
)]
#[repr(u32)]
pub enum Watch {
    /// Not at all: only programs that are trusted by name take part.
    Names = 0,
    Fentry = 1,
    Kprobe = 2,
    /// By the raw tracepoint `sys_enter`: it costs every system call of the node.
    Syscalls = 3,
}

const _: () = assert!(core::mem::size_of::<Program>() == 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_two_sockets_is_nobodys() {
        let name = *b"a-program-of-15\0";
        let (one, other) = (5, 5 + MAX_CONNECTING as u64);
        let theirs =
            Connecting { name, is_blocking: true, has_io_uring: true, is_left_alone: true };
        let others = Connecting { name: [0; MAX_PROGRAM], ..Connecting::default() };
        for connecting in [theirs, others] {
            assert_eq!(Connecting::of(connecting.word(one), one), Some(connecting));
            assert_eq!(Connecting::of(connecting.word(one), other), None);
        }
        assert_eq!(Connecting::of(Word::default(), one), None);
        let (whole, mut torn) = (theirs.word(one), theirs.word(other));
        for part in 0..whole.len() - 1 {
            torn[part] = whole[part];
            assert_eq!(Connecting::of(torn, one), None);
            assert_eq!(Connecting::of(torn, other), None);
        }
    }
}
