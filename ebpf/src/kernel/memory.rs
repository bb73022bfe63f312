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
/// See `enum lru_list` in include/linux/mmzone.h.
const INACTIVE_FILE: usize = 2;
const ACTIVE_FILE: usize = 3;
const LISTS: usize = 5;
/// The first zones: what is in others is not counted.
const ZONES: usize = 3;

/// Whether nothing more is to be queued on the way from one socket to another.
#[inline(never)]
pub fn is_scarce(writer: u64, reader: u64) -> bool {
    has_own_limit(memcg_of(writer)) || is_scarce_on_node(reader) || is_scarce_in_cgroup(reader)
}

/// The memory cgroup that a socket counts to; 0: none.
#[inline(always)]
fn memcg_of(sock: u64) -> u64 {
    match offsets().sock_memcg {
        0 => 0,
        // Without low bits, in which the kernel may keep flags.
        at => read::<u64>(sock, at).unwrap_or(0) & !7,
    }
}

/// Whether what TCP holds of a cgroup has a limit of its own (version 1's kmem.tcp). TCP lives with one that is too small
/// for its connections by what comes back with their ACKs, so both ways are left to it.
#[inline(always)]
fn has_own_limit(memcg: u64) -> bool {
    let active = offsets().memcg_tcpmem_active;
    active != 0 && memcg != 0 && read::<u8>(memcg, active) == Some(1)
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

/// As TCP asks it (`mem_cgroup_under_socket_pressure`), and whether a limit is near.
#[inline(always)]
fn is_scarce_in_cgroup(sock: u64) -> bool {
    let at = offsets();
    let memcg = memcg_of(sock);
    if memcg == 0 {
        return false;
    }
    if has_own_limit(memcg) {
        return true;
    }
    let (now, to_counter) = (clock::jiffies(), u64::from(at.memcg_memory));
    let mut counter = memcg + to_counter;
    for _ in 0..LEVELS {
        let until = read::<u64>(counter - to_counter, at.memcg_socket_pressure).unwrap_or(0);
        if (now.wrapping_sub(until) as i64) < 0 || is_near_limit(counter, memcg) {
            return true;
        }
        counter = match read::<u64>(counter, at.counter_parent) {
            None | Some(0) => return false,
            Some(parent) => parent,
        };
    }
    false
}

/// Whether a `struct page_counter` is; `memcg`: whose file pages the kernel would drop.
#[inline(always)]
fn is_near_limit(counter: u64, memcg: u64) -> bool {
    let at = offsets();
    let [usage, high, max] = [0, at.counter_high, at.counter_max]
        .map(|offset| read::<u64>(counter, offset).unwrap_or(u64::MAX >> 1));
    let limit = high.min(max);
    let usage = usage + (limit / SHARE).clamp(LEAST, MOST);
    usage > limit && usage > limit + file_pages(memcg)
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
