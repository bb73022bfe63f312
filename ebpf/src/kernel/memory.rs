//! tcp_mem and `struct mem_cgroup`: whether the kernel would rather not have sockets hold more.
//!
//! What is redirected is charged to the reader's memory cgroup inside the sender's send(2), which may
//! wait for that, reclaim and in the end kill, where TCP's receive path drops the packet. So a cgroup
//! that is near its limit counts as full. File pages that can be dropped are no reason: the kernel
//! reclaims those first.

use aya_ebpf::helpers::generated::bpf_get_numa_node_id;

use super::{
    clock,
    fields::{offsets, read},
};

/// Levels of cgroups that are looked at, from the socket's own upwards: Kubernetes has five.
const LEVELS: usize = 8;
/// Pages that connections may queue until each of them looks again: an eighth of the limit, but no less than
/// 1 MiB, which is many messages, and no more than 32 MiB.
const SHARE: u64 = 8;
const LEAST: u64 = (1 << 20) >> 12;
const MOST: u64 = (32 << 20) >> 12;
/// Pages above those with which each message looks.
const LITTLE: u64 = (4 << 20) >> 12;
/// See `enum lru_list` in include/linux/mmzone.h.
const INACTIVE_FILE: usize = 2;
const ACTIVE_FILE: usize = 3;
const LISTS: usize = 5;
/// The first zones: what is in others is not counted.
const ZONES: usize = 3;

/// How much more may be queued for a socket.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Room {
    Nothing = 0,
    /// A message, and then it is to be asked again.
    Little = 1,
    Enough = 2,
}

#[inline(never)]
pub fn room(reader: u64) -> Room {
    if is_scarce_on_node(reader) { Room::Nothing } else { in_cgroup(reader) }
}

/// By `net.ipv4.tcp_mem`, which all queues count to.
#[inline(always)]
fn is_scarce_on_node(sock: u64) -> bool {
    let at = offsets();
    read::<u64>(sock, at.sock_prot)
        .and_then(|prot| read::<u64>(prot, at.proto_memory_pressure))
        .and_then(|pressure| read::<u64>(pressure, 0))
        .is_none_or(|pressure| pressure != 0)
}

/// As TCP asks it (`mem_cgroup_under_socket_pressure`), and how near a limit is.
#[inline(always)]
fn in_cgroup(sock: u64) -> Room {
    let at = offsets();
    // Without low bits, in which the kernel may keep flags.
    let memcg = read::<u64>(sock, at.sock_memcg).unwrap_or(0) & !7;
    if at.sock_memcg == 0 || memcg == 0 {
        return Room::Enough;
    }
    if is_limited_for_tcp(memcg) {
        return Room::Nothing;
    }
    let (now, to_counter) = (clock::jiffies(), u64::from(at.memcg_memory));
    let (mut counter, mut room) = (memcg + to_counter, Room::Enough);
    for _ in 0..LEVELS {
        let until = read::<u64>(counter - to_counter, at.memcg_socket_pressure).unwrap_or(0);
        if (now.wrapping_sub(until) as i64) < 0 {
            return Room::Nothing;
        }
        match below_limit(counter, memcg) {
            Room::Nothing => return Room::Nothing,
            Room::Little => room = Room::Little,
            Room::Enough => {}
        }
        counter = match read::<u64>(counter, at.counter_parent) {
            None | Some(0) => return room,
            Some(parent) => parent,
        };
    }
    room
}

/// Whether what TCP holds of a socket's cgroup has a limit of its own (version 1's kmem.tcp). TCP lives with one that is
/// too small for its connections by what comes back with their ACKs, so both ways are left to it.
#[inline(never)]
pub fn has_own_limit(sock: u64) -> bool {
    let memcg = read::<u64>(sock, offsets().sock_memcg).unwrap_or(0) & !7;
    offsets().sock_memcg != 0 && memcg != 0 && is_limited_for_tcp(memcg)
}

#[inline(always)]
fn is_limited_for_tcp(memcg: u64) -> bool {
    let active = offsets().memcg_tcpmem_active;
    active != 0 && read::<u8>(memcg, active) == Some(1)
}

/// Of a `struct page_counter`; `memcg`: whose file pages the kernel would drop.
#[inline(always)]
fn below_limit(counter: u64, memcg: u64) -> Room {
    let at = offsets();
    let [usage, high, max] = [0, at.counter_high, at.counter_max]
        .map(|offset| read::<u64>(counter, offset).unwrap_or(u64::MAX >> 1));
    let limit = high.min(max);
    let usage = usage + (limit / SHARE).clamp(LEAST, MOST);
    if usage + LITTLE <= limit {
        return Room::Enough;
    }
    let limit = limit + file_pages(memcg);
    match () {
        () if usage > limit => Room::Nothing,
        () if usage + LITTLE > limit => Room::Little,
        () => Room::Enough,
    }
}

/// Pages of files that a memory cgroup holds, on the NUMA node of this processor.
#[inline(never)]
fn file_pages(memcg: u64) -> u64 {
    let at = offsets();
    if memcg == 0 {
        return 0;
    }
    // SAFETY: the helper cannot fail.
    let node = unsafe { bpf_get_numa_node_id() } as u32;
    let pages = read::<u64>(memcg, at.memcg_nodeinfo + node * 8)
        .and_then(|node| read::<[[u64; LISTS]; ZONES]>(node, at.memcg_lru_zone_size));
    pages.map_or(0, |zones| {
        zones.iter().fold(0, |sum, lists| sum + lists[INACTIVE_FILE] + lists[ACTIVE_FILE])
    })
}
