//! The layout of the BPF maps, compiled by the eBPF programs and by user space.
//!
//! All fields are laid out without padding, so that a value is a plain array of bytes to the
//! kernel, and carry names that a person reads in `bpftool map dump`.

mod address;
mod attachment;
mod connection;
mod counters;
mod habits;
pub mod name;
mod node;
mod offsets;
mod pod;
mod text;

pub use address::*;
pub use attachment::*;
pub use connection::*;
pub use counters::*;
pub use habits::*;
pub use node::*;
pub use offsets::*;
pub use pod::*;
pub use text::*;

/// Name of this layout, and of its folder below the pin folder: versions of shunt with different
/// layouts live side by side there. To be changed with anything in this module that a map or a
/// program of another version would take for something else.
pub const VERSION: &str = "v9";

/// A pod's id: the kernel's id of its cgroup, never reused while the machine is up; or, where it has none of its
/// own, the inode number of its network namespace.
pub type PodId = u64;

/// In the place of a pod's id, for programs that run for all sockets of the node: the pod is the one of the
/// socket's network namespace.
pub const BY_NAMESPACE: PodId = PodId::MAX;

/// Whether an id is of a network namespace: their inode numbers start here (PROC_DYNAMIC_FIRST of
/// fs/proc/generic.c), and are of 32 bits. No cgroup has such an id: its lower half ends at 2³¹.
pub const fn is_namespace(pod: PodId) -> bool {
    pod >> 28 == 0xf
}

/// A socket's key in the sockhash: its cookie, unique on the node while it is up.
pub type Cookie = u64;

/// No padding where fields of different sizes meet: user space takes the values as bytes.
const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<Policy>() == 16 + 2 * MAX_EXCLUDED_PORTS + 32 * MAX_SERVICE_CIDRS);
    assert!(offset_of!(Pod, policy) == 4 + 16 + 4);
    assert!(offset_of!(Pod, counters) == offset_of!(Pod, policy) + size_of::<Policy>());
    assert!(size_of::<Pod>() == offset_of!(Pod, programs) + 16);
    assert!(size_of::<Attached>() == 16 + MAX_NETWORK + MAX_NAMESPACE + MAX_POD_NAME);
    assert!(size_of::<Watched>() == size_of::<Program>() + 16);
};
