//! Programs of others on the same cgroups and sockets, in the least form that disturbs.

pub mod kmesh;
pub mod textbook;

use nix::{
    errno::Errno,
    sys::resource::{RLIM_INFINITY, Resource::RLIMIT_MEMLOCK, setrlimit},
};
use std::{
    fs::File,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
};

/// What it does when a connection is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks for callbacks of its own, and so for no others: as Kmesh does.
    Callbacks,
    /// Puts the socket into a sockhash of its own, with an sk_msg program that passes all: as OBI does.
    Sockhash,
}

/// Attached beside others, until it is dropped.
pub struct Neighbour {
    _program: Attached,
    _sockets: Option<OwnedFd>,
}

/// A program at a cgroup, until it is dropped.
struct Attached {
    program: OwnedFd,
    cgroup: OwnedFd,
    at: u64,
}

// include/uapi/linux/bpf.h
const MAP_CREATE: u32 = 0;
const PROG_LOAD: u32 = 5;
const PROG_ATTACH: u32 = 8;
const PROG_DETACH: u32 = 9;
const ENABLE_STATS: u32 = 32;
const TYPE_SOCK_OPS: u64 = 13;
const TYPE_SK_MSG: u64 = 16;
const TYPE_SOCKHASH: u64 = 18;
const AT_SOCK_OPS: u64 = 3;
const AT_SK_MSG_VERDICT: u64 = 7;
const ALLOW_MULTI: u64 = 2;

impl Neighbour {
    /// # Errors
    /// Of bpf(2).
    pub fn attach(kind: Kind, cgroup: &Path) -> io::Result<Self> {
        let sockets = match kind {
            Kind::Callbacks => None,
            Kind::Sockhash => {
                let map = call(MAP_CREATE, &[pair(TYPE_SOCKHASH, 8), pair(4, 1000)])?;
                let pass = [insn(0xb7, 0, 0, 0, 1), insn(0x95, 0, 0, 0, 0)];
                attach(&load(TYPE_SK_MSG, AT_SK_MSG_VERDICT, &pass)?, &map, AT_SK_MSG_VERDICT, 0)?;
                Some(map)
            }
        };
        let program = load(TYPE_SOCK_OPS, AT_SOCK_OPS, &sock_ops(sockets.as_ref()))?;
        let program = Attached::new(program, cgroup, AT_SOCK_OPS, ALLOW_MULTI)?;
        Ok(Self { _program: program, _sockets: sockets })
    }
}

impl Attached {
    fn new(program: OwnedFd, cgroup: &Path, at: u64, flags: u64) -> io::Result<Self> {
        let cgroup = File::open(cgroup)?.into();
        attach(&program, &cgroup, at, flags)?;
        Ok(Self { program, cgroup, at })
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let fds = pair(self.cgroup.as_raw_fd() as u64, self.program.as_raw_fd() as u64);
        if let Err(error) = bpf(PROG_DETACH, &[fds, pair(self.at, 0)]) {
            eprintln!("a neighbour: {error}");
        }
    }
}

/// In the two ESTABLISHED callbacks: `bpf_sock_ops_cb_flags_set(STATE)`, or `bpf_sock_hash_update`
/// under the two ports.
fn sock_ops(sockets: Option<&OwnedFd>) -> Vec<u64> {
    let act = match sockets {
        None => vec![
            insn(0xb7, 2, 0, 0, 4),
            insn(0x85, 0, 0, 0, 59), // sock_ops_cb_flags_set
        ],
        Some(map) => vec![
            insn(0x61, 7, 6, 68, 0), // local_port
            insn(0x63, 10, 7, -8, 0),
            insn(0x61, 7, 6, 64, 0), // remote_port
            insn(0x63, 10, 7, -4, 0),
            insn(0x18, 2, 1, 0, map.as_raw_fd()),
            insn(0, 0, 0, 0, 0),
            insn(0xbf, 3, 10, 0, 0),
            insn(0x07, 3, 0, 0, -8),
            insn(0xb7, 4, 0, 0, 0),
            insn(0x85, 0, 0, 0, 70), // sock_hash_update
        ],
    };
    let skip = act.len() as i16 + 1;
    let begin = [
        insn(0xbf, 6, 1, 0, 0),
        insn(0x61, 2, 6, 0, 0), // op
        insn(0x15, 2, 0, 1, 4),
        insn(0x55, 2, 0, skip, 5),
        insn(0xbf, 1, 6, 0, 0),
    ];
    let end = [insn(0xb7, 0, 0, 0, 0), insn(0x95, 0, 0, 0, 0)];
    [&begin[..], &act, &end].concat()
}

/// struct bpf_insn
fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> u64 {
    let low = u32::from_le_bytes([code, dst | src << 4, off as u8, (off >> 8) as u8]);
    pair(low.into(), imm as u32 as u64)
}

fn pair(low: u64, high: u64) -> u64 {
    low | high << 32
}

fn load(kind: u64, at: u64, insns: &[u64]) -> io::Result<OwnedFd> {
    let at_insns = pair(kind, insns.len() as u64);
    let (insns, license) = (insns.as_ptr() as u64, c"GPL".as_ptr() as u64);
    let name = u64::from_le_bytes(*b"neighbou");
    call(PROG_LOAD, &[at_insns, insns, license, 0, 0, 0, name, 0, pair(0, at)])
}

fn attach(program: &OwnedFd, to: &OwnedFd, at: u64, flags: u64) -> io::Result<()> {
    let fds = pair(to.as_raw_fd() as u64, program.as_raw_fd() as u64);
    bpf(PROG_ATTACH, &[fds, pair(at, flags)]).map(drop)
}

/// Programs' run time is measured as long as the descriptor is open.
pub(crate) fn enable_stats() -> io::Result<OwnedFd> {
    call(ENABLE_STATS, &[0])
}

/// A call that gives a descriptor.
fn call(command: u32, attr: &[u64]) -> io::Result<OwnedFd> {
    // SAFETY: these commands give a new one.
    bpf(command, attr).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// bpf(2) with the first words of a union bpf_attr.
fn bpf(command: u32, attr: &[u64]) -> io::Result<i32> {
    // Before Linux 5.11 programs and maps count as locked memory. Later ones need no more.
    let _ = setrlimit(RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    // SAFETY: what the words point to outlives the call.
    let ret = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), size_of_val(attr)) };
    Ok(Errno::result(ret)? as i32)
}
