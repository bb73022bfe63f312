//! The maps. Their names and layout are in `shim::layout`.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, bpf_map_type::*},
    btf_maps::{Array, HashMap, LruHashMap},
    helpers::generated::bpf_get_local_storage,
    macros::btf_map,
};
use shim::layout::*;

const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;

/// All of it is there from the start. User space asks for more where there are many processors.
#[btf_map(name = "pairs")]
pub static PAIRS: LruHashMap<Pair, Ends, MIN_PAIRS> = LruHashMap::new();
#[btf_map(name = "pods")]
pub static PODS: HashMap<PodId, Pod, 4096, ON_DEMAND> = HashMap::new();
#[btf_map(name = "pod_ips")]
pub static POD_IPS: HashMap<Address, PodIp, 8192, ON_DEMAND> = HashMap::new();
#[btf_map(name = "attachments")]
pub static ATTACHMENTS: HashMap<Attachment, Attached, 8192, ON_DEMAND> = HashMap::new();
#[btf_map(name = "habits")]
pub static HABITS: HashMap<Program, Habit, 16384, ON_DEMAND> = HashMap::new();
#[btf_map(name = "watched")]
pub static WATCHED: HashMap<Cookie, Watched, MIN_SOCKETS, ON_DEMAND> = HashMap::new();
#[btf_map(name = "changes")]
pub static CHANGES: Array<u64, 1> = Array::new();
#[btf_map(name = "observing")]
pub static OBSERVING: Array<u32, 1> = Array::new();
/// No storage of sockets, here and for listeners, as that is taken and given back for each connection; and no
/// hash, as each connection that leaves the node pays for what is written here.
#[btf_map(name = "connecting")]
pub static CONNECTING: Array<Word, MAX_CONNECTING> = Array::new();
#[btf_map(name = "listeners")]
pub static LISTENERS: LruHashMap<Listening, Listener, MIN_LISTENERS> = LruHashMap::new();
#[btf_map(name = "node")]
pub static NODE: Array<Node, 1> = Array::new();
#[btf_map(name = "draining")]
pub static DRAINING: Array<u32, 1> = Array::new();
/// Its table is there from the start, 16 bytes an entry, as that of `watched`. User space asks for more of both
/// where there is much memory.
#[btf_map(name = "sockets")]
pub static SOCKETS: Map<{ BPF_MAP_TYPE_SOCKHASH as usize }, Cookie, u64, MIN_SOCKETS, 0> =
    Map::new();
#[btf_map(name = "flows")]
pub static FLOWS: Map<{ BPF_MAP_TYPE_SK_STORAGE as usize }, i32, Flow, 0, ON_DEMAND> = Map::new();
#[btf_map(name = "cgroup_pod")]
pub static CGROUP_POD: Map<{ BPF_MAP_TYPE_CGROUP_STORAGE_DEPRECATED as usize }, u64, PodId, 0, 0> =
    Map::new();

/// A BTF map definition for what aya-ebpf has no fitting type for: a sockhash with 8-byte values
/// (user space can read those), socket storage in sock_ops and sk_msg, cgroup storage by id.
#[repr(C)]
pub struct Map<const TYPE: usize, K, V, const ENTRIES: usize, const FLAGS: usize> {
    r#type: *const [i32; TYPE],
    key: *const K,
    value: *const V,
    max_entries: *const [i32; ENTRIES],
    map_flags: *const [i32; FLAGS],
}

// SAFETY: only the loader reads the fields; the kernel serialises access to the map.
unsafe impl<const TYPE: usize, K, V, const ENTRIES: usize, const FLAGS: usize> Sync
    for Map<TYPE, K, V, ENTRIES, FLAGS>
{
}

impl<const TYPE: usize, K, V, const ENTRIES: usize, const FLAGS: usize>
    Map<TYPE, K, V, ENTRIES, FLAGS>
{
    const fn new() -> Self {
        Self {
            r#type: core::ptr::null(),
            key: core::ptr::null(),
            value: core::ptr::null(),
            max_entries: core::ptr::null(),
            map_flags: core::ptr::null(),
        }
    }

    pub fn as_ptr<T>(&self) -> *mut T {
        core::ptr::from_ref(self).cast_mut().cast()
    }
}

/// The pod whose cgroup the running program is attached to, or [`BY_NAMESPACE`].
#[inline(always)]
pub fn attached_to() -> PodId {
    // SAFETY: the helper never fails for a cgroup program with this map.
    unsafe { *bpf_get_local_storage(CGROUP_POD.as_ptr(), 0).cast::<PodId>() }
}

#[inline(always)]
pub fn pod<'a>(id: PodId) -> Option<&'a mut Pod> {
    // SAFETY: the kernel keeps the value until the program ends; counters are only added to.
    PODS.get_ptr_mut(id).map(|pod| unsafe { &mut *pod })
}

/// Whether no connection is to take the short way any more.
#[inline(always)]
pub fn is_draining() -> bool {
    DRAINING.get(0).is_none_or(|draining| *draining != 0)
}

/// Whether connections of a pod are only looked at.
#[inline(always)]
pub fn is_observing(policy: &Policy) -> bool {
    match policy.mode {
        Policy::AS_NODE => OBSERVING.get(0).is_some_and(|observing| *observing != 0),
        mode => mode == Policy::OBSERVE,
    }
}

/// What `pairs` has of the flow's own connection. Under its numbers could also be another's, as a
/// pod can forge them.
#[inline(always)]
pub fn ends(flow: &Flow) -> Option<Ends> {
    // SAFETY: copied at once.
    let ends = *unsafe { PAIRS.get(flow.pair) }?;
    let own = flow.own.cookie;
    (ends.active.cookie == own || ends.passive.cookie == own).then_some(ends)
}

/// Takes a flow's own connection out of `pairs`: what was there of it.
#[inline(always)]
pub fn take_ends(flow: &Flow) -> Option<Ends> {
    let ends = ends(flow)?;
    let _ = PAIRS.remove(flow.pair);
    Some(ends)
}

/// Adds to a counter that several CPUs share. In assembly, as core has no fetch_add for this
/// target; this form, without a result, is the one that 5.10 knows.
#[inline(always)]
pub fn add(counter: &mut u64, n: u64) {
    // SAFETY: the counter is an aligned word of a map's value.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({at} + 0) += {n}",
            at = in(reg) core::ptr::from_mut(counter),
            n = in(reg) n,
        );
    }
}

/// Counts for a reason: [`Reasons::LEARNING`] and so on.
#[inline(always)]
pub fn add_reason(reasons: &mut Reasons, reason: u32, n: u64) {
    let mut index = u64::from(reason);
    // SAFETY: there are sixteen words. In assembly, so that the verifier sees the bound.
    unsafe {
        core::arch::asm!("{index} &= 15", index = inout(reg) index);
        add(&mut *core::ptr::from_mut(reasons).cast::<u64>().add(index as usize), n);
    }
}
