//! Kmesh, dual engine, in the least form that has all its hooks: connect(2) is rewritten; sockets to its
//! waypoint enter a sockhash, whose sk_msg program puts a header in front of their first message; and
//! its sock_ops program wants callbacks of its own.

use super::{
    ALLOW_MULTI, AT_SK_MSG_VERDICT, AT_SOCK_OPS, Attached, MAP_CREATE, TYPE_SK_MSG, TYPE_SOCK_OPS,
    TYPE_SOCKHASH, attach, call, insn, load, pair,
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
};

/// Where its waypoints take what has the header.
pub const WAYPOINT_PORT: u16 = 15019;

const TYPE_HASH: u64 = 1;
const TYPE_SOCK_ADDR: u64 = 18;
const AT_CONNECT4: u64 = 10;

/// Until it is dropped.
pub struct Kmesh {
    _programs: [Attached; 2],
    _sockets: OwnedFd,
}

/// The header: where the application wanted to go, and that nothing else follows (type, length, value).
pub fn header(service: SocketAddrV4) -> [u8; 16] {
    let mut header = [0; 16];
    (header[0], header[4], header[11]) = (1, 6, 0xfe);
    header[5..9].copy_from_slice(&service.ip().octets());
    header[9..11].copy_from_slice(&service.port().to_be_bytes());
    header
}

impl Kmesh {
    /// In a cgroup and below: who dials a service gets to the address beside it. The first goes by a
    /// waypoint. `managed`: the pods that are in its mesh.
    ///
    /// # Errors
    /// Of bpf(2).
    pub fn attach(
        cgroup: &Path,
        managed: &[Ipv4Addr],
        services: &[(SocketAddrV4, SocketAddrV4)],
    ) -> io::Result<Self> {
        let sockets = call(MAP_CREATE, &[pair(TYPE_SOCKHASH, 4), pair(4, 1000)])?;
        let fresh = call(MAP_CREATE, &[pair(TYPE_HASH, 4), pair(4, 1000)])?;
        let by_waypoint = services.first().map(|(service, _)| *service);
        let header = header(by_waypoint.ok_or(io::ErrorKind::InvalidInput)?);
        let message = load(TYPE_SK_MSG, AT_SK_MSG_VERDICT, &sk_msg(&fresh, header))?;
        attach(&message, &sockets, AT_SK_MSG_VERDICT, 0)?;
        let connect = load(TYPE_SOCK_ADDR, AT_CONNECT4, &connect4(services))?;
        let sock_ops = load(TYPE_SOCK_OPS, AT_SOCK_OPS, &sock_ops(managed, &sockets, &fresh))?;
        let programs = [
            Attached::new(connect, cgroup, AT_CONNECT4, ALLOW_MULTI)?,
            Attached::new(sock_ops, cgroup, AT_SOCK_OPS, ALLOW_MULTI)?,
        ];
        Ok(Self { _programs: programs, _sockets: sockets })
    }
}

/// user_ip4 and user_port of struct bpf_sock_addr, in network order.
fn connect4(services: &[(SocketAddrV4, SocketAddrV4)]) -> Vec<u64> {
    let ip = |address: &SocketAddrV4| u32::from_ne_bytes(address.ip().octets()) as i32;
    let port = |address: &SocketAddrV4| i32::from(address.port().to_be());
    let mut insns = vec![insn(0xb4, 0, 0, 0, 1)];
    for (service, to) in services {
        insns.extend([
            insn(0x61, 2, 1, 4, 0),
            insn(0x56, 2, 0, 7, ip(service)), // not this one
            insn(0x61, 3, 1, 24, 0),
            insn(0x56, 3, 0, 5, port(service)),
            insn(0xb4, 2, 0, 0, ip(to)),
            insn(0x63, 1, 2, 4, 0),
            insn(0xb4, 3, 0, 0, port(to)),
            insn(0x63, 1, 3, 24, 0),
            insn(0x95, 0, 0, 0, 0),
        ]);
    }
    insns.push(insn(0x95, 0, 0, 0, 0));
    insns
}

/// In the two ESTABLISHED callbacks of managed pods: `bpf_sock_ops_cb_flags_set(STATE)`. A socket to the
/// waypoint goes into the two maps, under its local port.
fn sock_ops(managed: &[Ipv4Addr], sockets: &OwnedFd, fresh: &OwnedFd) -> Vec<u64> {
    let to_waypoint = u32::from(WAYPOINT_PORT).to_be() as i32;
    let begin = [
        insn(0xbf, 6, 1, 0, 0),
        insn(0xb7, 0, 0, 0, 0),
        insn(0x61, 2, 6, 0, 0), // op
        insn(0x15, 2, 0, 2, 4),
        insn(0x15, 2, 0, 1, 5),
        insn(0x95, 0, 0, 0, 0),
        insn(0x61, 2, 6, 28, 0), // local_ip4
    ];
    let count = managed.len() as i16;
    let known = (0..).zip(managed).map(|(at, ip)| {
        let ip = u32::from_ne_bytes(ip.octets()) as i32;
        insn(0x16, 2, 0, count - at, ip)
    });
    let unknown = insn(0x95, 0, 0, 0, 0);
    let act = [
        insn(0xbf, 1, 6, 0, 0),
        insn(0xb7, 2, 0, 0, 4),
        insn(0x85, 0, 0, 0, 59), // sock_ops_cb_flags_set
        insn(0x61, 7, 6, 64, 0), // remote_port
        insn(0x56, 7, 0, 16, to_waypoint),
        insn(0x61, 7, 6, 68, 0), // local_port
        insn(0x63, 10, 7, -4, 0),
        insn(0x18, 1, 1, 0, fresh.as_raw_fd()),
        insn(0, 0, 0, 0, 0),
        insn(0xbf, 2, 10, 0, 0),
        insn(0x07, 2, 0, 0, -4),
        insn(0xbf, 3, 2, 0, 0),
        insn(0xb7, 4, 0, 0, 0),
        insn(0x85, 0, 0, 0, 2), // map_update_elem
        insn(0xbf, 1, 6, 0, 0),
        insn(0x18, 2, 1, 0, sockets.as_raw_fd()),
        insn(0, 0, 0, 0, 0),
        insn(0xbf, 3, 10, 0, 0),
        insn(0x07, 3, 0, 0, -4),
        insn(0xb7, 4, 0, 0, 0),
        insn(0x85, 0, 0, 0, 70), // sock_hash_update
        insn(0xb7, 0, 0, 0, 0),
        insn(0x95, 0, 0, 0, 0),
    ];
    begin.into_iter().chain(known).chain([unknown]).chain(act).collect()
}

/// The first message of each socket gets the header.
fn sk_msg(fresh: &OwnedFd, header: [u8; 16]) -> Vec<u64> {
    let begin = [
        insn(0xbf, 6, 1, 0, 0),
        insn(0x61, 2, 6, 64, 0), // local_port
        insn(0x63, 10, 2, -4, 0),
        insn(0x18, 1, 1, 0, fresh.as_raw_fd()),
        insn(0, 0, 0, 0, 0),
        insn(0xbf, 2, 10, 0, 0),
        insn(0x07, 2, 0, 0, -4),
        insn(0x85, 0, 0, 0, 3), // map_delete_elem
        insn(0x55, 0, 0, 27, 0),
        insn(0xbf, 1, 6, 0, 0),
        insn(0xb7, 2, 0, 0, 0),
        insn(0xb7, 3, 0, 0, 16),
        insn(0xb7, 4, 0, 0, 0),
        insn(0x85, 0, 0, 0, 90), // msg_push_data
        insn(0x55, 0, 0, 21, 0),
        insn(0x79, 2, 6, 0, 0), // data
        insn(0x79, 3, 6, 8, 0), // data_end
        insn(0xbf, 4, 2, 0, 0),
        insn(0x07, 4, 0, 0, 16),
        insn(0x2d, 4, 3, 16, 0),
    ];
    let bytes = (0..).zip(header).map(|(at, byte)| insn(0x72, 2, 0, at, byte.into()));
    let end = [insn(0xb7, 0, 0, 0, 1), insn(0x95, 0, 0, 0, 0)];
    begin.into_iter().chain(bytes).chain(end).collect()
}
