//! What a runtime asked for: a container, on an interface.

use super::{PodId, padded};

/// Bytes of a container ID that the attachments map can hold.
pub const MAX_CONTAINER_ID: usize = 128;
/// Bytes of a network's name that the attachments map keeps.
pub const MAX_NETWORK: usize = 64;
/// Bytes of a pod's namespace and name (63 and 253 in Kubernetes) that it keeps.
pub const MAX_NAMESPACE: usize = 64;
pub const MAX_POD_NAME: usize = 256;
/// IFNAMSIZ of linux/if.h.
pub const MAX_IFNAME: usize = 16;

/// The key under which a runtime names what it asked for: CNI_CONTAINERID and CNI_IFNAME,
/// padded with zeroes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attachment {
    pub container_id: [u8; MAX_CONTAINER_ID],
    pub ifname: [u8; MAX_IFNAME],
}

impl Attachment {
    /// `None` if the runtime's names are longer than the map's key.
    pub fn new(container_id: &str, ifname: &str) -> Option<Self> {
        Some(Self {
            container_id: padded(container_id.as_bytes())?,
            ifname: padded(ifname.as_bytes())?,
        })
    }

    /// A short name for it (FNV-1a), the same in every version of shunt.
    pub fn id(&self) -> u64 {
        self.container_id.iter().chain(&self.ifname).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }
}

/// Value of the attachments map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    pub pod: PodId,
    /// Seconds since 1970.
    pub since: u64,
    /// The network's name in its conflist (GC speaks of one network), cut to fit.
    pub network: [u8; MAX_NETWORK],
    /// As far as the runtime told, cut to fit.
    pub namespace: [u8; MAX_NAMESPACE],
    pub name: [u8; MAX_POD_NAME],
}
