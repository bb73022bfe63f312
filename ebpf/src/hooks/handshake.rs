//! When a connection is made: find its other end, and enter the socket if the peer is here.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_ANY, BPF_NOEXIST},
    programs::SockOpsContext,
};
use shim::layout::*;

use crate::{
    kernel::fields,
    rules::{admit, overruled, reader, trust},
    state::{
        callbacks::{self, field},
        connecting, flow, habits, listener,
        maps::{self, PAIRS, POD_IPS, add, add_reason},
        sockhash,
    },
};

const AF_INET: u32 = 2;
const E2BIG: i64 = -7;
const EBUSY: i64 = -16;
/// Kmesh's to its waypoint: an sk_msg program puts a header in front of what is sent there.
const WAYPOINT_PORT: u16 = 15019;
/// The third word of `::ffff:a.b.c.d`.
const V4_MAPPED: u32 = 0xffff_u32.to_be();

/// The active end comes first, before its ACK leaves, and can enter the sockhash only now.
#[inline(always)]
pub fn active(ctx: &SockOpsContext, id: PodId, pod: &mut Pod) {
    if excluded(ctx, &pod.policy) {
        return add(&mut pod.counters.not_paired.excluded_port, 1);
    }
    if maps::is_draining() {
        return add(&mut pod.counters.not_paired.draining, 1);
    }
    if overruled::is_known(pod) {
        return add(&mut pod.counters.not_paired.overruled, 1);
    }
    let pair = Pair { active: field!(ctx, snd_nxt), passive: field!(ctx, rcv_nxt) };
    let remote = remote_address(ctx);
    let is_local = is_pod(remote) || came_by_loopback(ctx);
    if !is_local && !is_service(&pod.policy, remote) {
        return add(&mut pod.counters.not_paired.remote, 1);
    }
    let Some(connecting) = connecting::of(ctx).filter(|own| !own.is_left_alone) else {
        return add_reason(&mut pod.counters.plain, Reasons::BRIEF, 1);
    };
    let program = connecting.program(id);
    let Some(flow) = flow::new_flow(ctx, id, pair) else {
        return add(&mut pod.counters.not_paired.refused, 1);
    };
    flow.tcp_seq = pair.active;
    flow.sent_seq = pair.active;
    let waits = connecting.is_blocking || connecting.has_io_uring;
    // What is on its way to a socket that was in the sockhash would come out of its next connection.
    let is_new = if flow.was_in == 0 { Ok(()) } else { Err(Reasons::LEFT) };
    let admitted = is_new.and_then(|()| admit::end(flow, pod, &program, waits));
    if let Err(why) = admitted.and_then(|()| enter(ctx, flow)) {
        stays_plain(ctx, flow, why);
    }
    leave_for_peer(pair, flow.own);
}

#[inline(always)]
fn leave_for_peer(pair: Pair, own: End) {
    let ends = Ends { active: own, passive: End::default() };
    let _ = PAIRS.insert(pair, ends, BPF_NOEXIST.into());
}

/// The passive end enters when it finds its peer waiting.
#[inline(always)]
pub fn passive(ctx: &SockOpsContext, id: PodId, pod: &mut Pod) {
    let pair = Pair { active: field!(ctx, rcv_nxt), passive: field!(ctx, snd_nxt) };
    let port = field!(ctx, local_port) as u16;
    // SAFETY: copied at once.
    let Some(Ends { active: peer, passive: taken }) = (unsafe { PAIRS.get(pair) }).copied() else {
        return add(&mut pod.counters.not_paired.no_peer, 1);
    };
    if taken.cookie != 0 || !is_sender(ctx, peer.sock) {
        return add(&mut pod.counters.not_paired.unproven, 1);
    }
    // Another program runs after this one and may take away callbacks here, as it did there.
    let is_overruled = peer.entered != 0 && overruled::has_lost(&peer) || overruled::is_known(pod);
    let not_paired = &mut pod.counters.not_paired;
    let left_alone = if excluded(ctx, &pod.policy) {
        Some(&mut not_paired.excluded_port)
    } else if maps::is_draining() {
        Some(&mut not_paired.draining)
    } else if is_overruled {
        Some(&mut not_paired.overruled)
    } else {
        None
    };
    if let Some(reason) = left_alone {
        add(reason, 1);
        let _ = PAIRS.remove(pair);
        // Nobody will hand it anything, so it need not pay for its place.
        return sockhash::leave(peer.cookie);
    }
    let Some(flow) = flow::new_flow(ctx, id, pair) else {
        return add(&mut pod.counters.not_paired.refused, 1);
    };
    flow.peer = peer;
    flow.tcp_seq = pair.passive;
    flow.sent_seq = pair.passive;
    let program = Program { pod: id, port, ..Program::default() };
    let listener = listener::of(ctx, id);
    let waits = listener.is_none_or(listener::waits);
    if listener.is_some_and(|listener| listener.is_new != 0) {
        listener::accepts(ctx, id);
        // Who listens without blocking has the sockets without, too.
        if waits && pod.policy.blocking == 0 {
            habits::may_be_another(&program);
        }
    }
    let admitted = admit::listener(listener).and_then(|()| admit::end(flow, pod, &program, waits));
    let admitted = admitted.and(if peer.entered != 0 { Ok(()) } else { Err(Reasons::PEER) });
    match admitted.and_then(|()| enter(ctx, flow)) {
        Ok(()) => {
            add(&mut pod.counters.paired, 1);
            if let Some(peer_pod) = maps::pod(peer.pod) {
                add(&mut peer_pod.counters.paired, 1);
            }
        }
        Err(why) => {
            stays_plain(ctx, flow, why);
            add_reason(&mut pod.counters.plain, why, 1);
            count_peer(&peer);
            if peer.entered != 0 {
                sockhash::leave(peer.cookie);
            }
        }
    }
    let ends = Ends { active: peer, passive: flow.own };
    let _ = PAIRS.insert(pair, ends, BPF_ANY.into());
}

/// Why the active end of a connection that stays plain TCP does: itself, or only its peer.
#[inline(always)]
fn count_peer(peer: &End) {
    let why = match peer.entered {
        0 => fields::read(peer.flow, core::mem::offset_of!(Flow, why) as u32),
        _ => Some(Reasons::PEER),
    };
    if let (Some(why), Some(pod)) = (why, maps::pod(peer.pod)) {
        add_reason(&mut pod.counters.plain, why, 1);
    }
}

/// Enters the socket. Err: [`Reasons::REFUSED`].
#[inline(always)]
fn enter(ctx: &SockOpsContext, flow: &mut Flow) -> Result<(), u32> {
    if let Err(errno) = sockhash::enter(ctx, flow.own.cookie) {
        if let Some(pod) = maps::pod(flow.own.pod) {
            let not_paired = &mut pod.counters.not_paired;
            let counter = match errno {
                E2BIG => &mut not_paired.full,
                EBUSY => &mut not_paired.busy,
                _ => &mut not_paired.refused,
            };
            add(counter, 1);
        }
        return Err(Reasons::REFUSED);
    }
    flow.own.entered = 1;
    flow.was_in = 1;
    flow.exceptional = reader::is_exceptional(flow.own.sock).into();
    callbacks::begin(ctx, flow);
    Ok(())
}

/// A local connection's end that is not in the sockhash is looked at and counted.
#[inline(always)]
fn stays_plain(ctx: &SockOpsContext, flow: &mut Flow, why: u32) {
    flow.stage = Flow::PLAIN;
    flow.why = why;
    let may_learn = fields::watch() != Watch::Names as u32 || trust::of(&flow.own) != 0;
    let learns = why == Reasons::OBSERVED || why == Reasons::LEARNING && may_learn;
    callbacks::begin_plain(ctx, flow, learns);
}

/// Whether this socket sent the packet that the callback is for. Sequence numbers are no proof, as
/// a pod can forge its own (TCP_REPAIR) and guess another's. But the kernel draws 32 random bits for
/// every socket and marks its packets with them (`skb_set_hash_from_sk`), through veth, bridge and
/// NAT; no option sets them, and no other network namespace sees them.
#[inline(always)]
fn is_sender(ctx: &SockOpsContext, sock: u64) -> bool {
    let at = fields::offsets();
    let hash = packet(ctx).and_then(|packet| fields::read::<u32>(packet, at.skb_hash));
    hash.is_some() && hash == fields::read::<u32>(sock, at.sock_txhash)
}

/// Whether an address is a pod's of this node. An entry costs its socket a longer way for every message, so:
/// never a guess. Loopback is none: NAT may send that elsewhere, and what it does not comes in by that device.
#[inline(always)]
fn is_pod(remote: [u32; 4]) -> bool {
    // SAFETY: sixteen bytes either way, in network order.
    let address = unsafe { core::mem::transmute::<[u32; 4], Address>(remote) };
    POD_IPS.get_ptr(address).is_some()
}

/// Whether the SYN-ACK that the callback is for came in by the loopback device: then a socket of the
/// same network namespace has sent it, whatever address was dialled, as a sidecar does that captures
/// connections. The device is the first of every namespace (LOOPBACK_IFINDEX of linux/if.h).
#[inline(always)]
fn came_by_loopback(ctx: &SockOpsContext) -> bool {
    packet(ctx).and_then(|packet| fields::read::<u32>(packet, fields::offsets().skb_iif)) == Some(1)
}

/// The kernel's own of the packet that the callback is for.
#[inline(always)]
fn packet(ctx: &SockOpsContext) -> Option<u64> {
    fields::read::<u64>(ctx.as_ptr() as u64, fields::offsets().sock_ops_skb).filter(|at| *at != 0)
}

/// As words in network order; an IPv4 address as v4-mapped. All fields are read whatever the
/// family is, as the compiler would merge the loads of two branches.
#[inline(always)]
fn remote_address(ctx: &SockOpsContext) -> [u32; 4] {
    let ip4 = field!(ctx, remote_ip4);
    let ip6 = [
        field!(ctx, remote_ip6[0]),
        field!(ctx, remote_ip6[1]),
        field!(ctx, remote_ip6[2]),
        field!(ctx, remote_ip6[3]),
    ];
    // A socket of family AF_INET6 has v4-mapped addresses in these fields as they are.
    if field!(ctx, family) == AF_INET { [0, 0, V4_MAPPED, ip4] } else { ip6 }
}

/// Whether who answers may be on this node, and may not. An end that is alone leaves with the first ACK
/// (`rules/stay.rs`).
#[inline(always)]
fn is_service(policy: &Policy, remote: [u32; 4]) -> bool {
    policy.service_cidrs.iter().any(|cidr| cidr.holds(remote))
}

#[inline(always)]
pub fn excluded(ctx: &SockOpsContext, policy: &Policy) -> bool {
    let ports = [field!(ctx, local_port) as u16, remote_port(ctx)];
    ports.contains(&WAYPOINT_PORT)
        || policy.excluded_ports.iter().any(|excluded| *excluded != 0 && ports.contains(excluded))
}

/// The context has it in network order, as a word.
#[inline(always)]
pub fn remote_port(ctx: &SockOpsContext) -> u16 {
    u32::from_be(field!(ctx, remote_port)) as u16
}
