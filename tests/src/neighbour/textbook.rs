//! What every other accelerator is: sockets of a cgroup enter a sockhash, and each message goes to the socket
//! that the addresses say. Pairs through a proxy's REDIRECT too, as it goes by the client's address. No
//! bounds, no proof, no order: to measure beside, not to run.

use super::{
    ALLOW_MULTI, AT_SK_MSG_VERDICT, AT_SOCK_OPS, Attached, MAP_CREATE, TYPE_SK_MSG, TYPE_SOCK_OPS,
    TYPE_SOCKHASH, attach, call, insn, load, pair,
};
use std::{
    fs, io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
};

/// From here on ports are a client's (ip_local_port_range).
const EPHEMERAL: i32 = 32768;
const ACTIVE: i32 = 0;
const PASSIVE: i32 = 1;

/// Until it is dropped.
pub struct Textbook {
    _programs: Vec<Attached>,
    _sockets: OwnedFd,
    message: OwnedFd,
}

impl Textbook {
    /// In these cgroups and below.
    ///
    /// # Errors
    /// Of bpf(2).
    pub fn attach(cgroups: &[&Path]) -> io::Result<Self> {
        // By the client's address and port, and which end.
        let sockets = call(MAP_CREATE, &[pair(TYPE_SOCKHASH, 12), pair(4, 65536)])?;
        let message = load(TYPE_SK_MSG, AT_SK_MSG_VERDICT, &sk_msg(&sockets))?;
        attach(&message, &sockets, AT_SK_MSG_VERDICT, 0)?;
        let sock_ops = load(TYPE_SOCK_OPS, AT_SOCK_OPS, &sock_ops(&sockets))?;
        let at =
            |cgroup: &&Path| Attached::new(sock_ops.try_clone()?, cgroup, AT_SOCK_OPS, ALLOW_MULTI);
        let programs = cgroups.iter().map(at).collect::<io::Result<_>>()?;
        Ok(Self { _programs: programs, _sockets: sockets, message })
    }

    /// The id of the program that runs for each message.
    ///
    /// # Errors
    /// Of reading /proc.
    pub fn message_program(&self) -> io::Result<u32> {
        // proc_pid_fdinfo(5)
        let info = format!("/proc/self/fdinfo/{}", self.message.as_raw_fd());
        let info = fs::read_to_string(info)?;
        let id = info.lines().find_map(|line| line.strip_prefix("prog_id:"));
        id.and_then(|id| id.trim().parse().ok()).ok_or(io::ErrorKind::NotFound.into())
    }
}

/// In the two ESTABLISHED callbacks: `bpf_sock_hash_update`.
fn sock_ops(sockets: &OwnedFd) -> Vec<u64> {
    let choose = [
        insn(0xbf, 6, 1, 0, 0),
        insn(0x61, 2, 6, 0, 0), // op
        insn(0x15, 2, 0, 2, 4),
        insn(0x15, 2, 0, 6, 5),
        insn(0x05, 0, 0, 17, 0),
        // ACTIVE_ESTABLISHED
        insn(0x61, 7, 6, 28, 0), // local_ip4
        insn(0x61, 8, 6, 68, 0), // local_port, in host order
        insn(0xdc, 8, 0, 0, 32),
        insn(0xb7, 9, 0, 0, ACTIVE),
        insn(0x05, 0, 0, 3, 0),
        // PASSIVE_ESTABLISHED
        insn(0x61, 7, 6, 24, 0), // remote_ip4
        insn(0x61, 8, 6, 64, 0), // remote_port, in network order
        insn(0xb7, 9, 0, 0, PASSIVE),
    ];
    let enter = [
        insn(0xb7, 4, 0, 0, 0),
        insn(0x85, 0, 0, 0, 70), // sock_hash_update
        insn(0xb7, 0, 0, 0, 1),
        insn(0x95, 0, 0, 0, 0),
    ];
    [&choose[..], &by_key(sockets), &enter].concat()
}

/// To the other end, or as before.
fn sk_msg(sockets: &OwnedFd) -> Vec<u64> {
    let choose = [
        insn(0x61, 8, 1, 64, 0), // local_port, in host order
        insn(0x35, 8, 0, 4, EPHEMERAL),
        // The server's end
        insn(0x61, 7, 1, 20, 0), // remote_ip4
        insn(0x61, 8, 1, 60, 0), // remote_port, in network order
        insn(0xb7, 9, 0, 0, ACTIVE),
        insn(0x05, 0, 0, 3, 0),
        // The client's
        insn(0x61, 7, 1, 24, 0), // local_ip4
        insn(0xdc, 8, 0, 0, 32),
        insn(0xb7, 9, 0, 0, PASSIVE),
    ];
    let redirect = [
        insn(0xb7, 4, 0, 0, 1),  // BPF_F_INGRESS
        insn(0x85, 0, 0, 0, 71), // msg_redirect_hash
        insn(0xb7, 0, 0, 0, 1),
        insn(0x95, 0, 0, 0, 0),
    ];
    [&choose[..], &by_key(sockets), &redirect].concat()
}

/// The map, and a key of address, port and end from registers 7 to 9, as a helper's second and third argument.
fn by_key(sockets: &OwnedFd) -> [u64; 7] {
    [
        insn(0x63, 10, 7, -12, 0),
        insn(0x63, 10, 8, -8, 0),
        insn(0x63, 10, 9, -4, 0),
        insn(0x18, 2, 1, 0, sockets.as_raw_fd()),
        insn(0, 0, 0, 0, 0),
        insn(0xbf, 3, 10, 0, 0),
        insn(0x07, 3, 0, 0, -12),
    ]
}
