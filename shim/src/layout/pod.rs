//! What is known of a pod, and how it is to be treated.

use super::{Cidr, Counters};

/// The bound of [`Policy::excluded_ports`].
pub const MAX_EXCLUDED_PORTS: usize = 16;
/// The bound of [`Policy::service_cidrs`].
pub const MAX_SERVICE_CIDRS: usize = 4;
/// How many programs of a pod are remembered; those that come later stay plain TCP.
pub const MAX_PROGRAMS: u64 = 256;

/// Value of the pods map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pod {
    /// An IPv4 address of the pod, 0.0.0.0 if it has none. `pod_ips` has all.
    pub ipv4: [u8; 4],
    /// An IPv6 address of the pod, :: if it has none.
    pub ipv6: [u8; 16],
    /// How many addresses of this pod `pod_ips` has.
    pub addresses: u32,
    pub policy: Policy,
    pub counters: Counters,
    /// How many programs of this pod `habits` has.
    pub programs: u64,
    /// Jiffies until which its sockets are taken to lose their callbacks, see
    /// `ebpf/src/rules/overruled.rs`.
    pub overruled: u64,
}

/// What a pod's configuration says, read by the programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Bytes of kernel memory that one direction of one connection may queue at its reader,
    /// where the application has not set the socket's buffers.
    pub queue_limit: u32,
    /// Seconds after which a connection in use shows itself to the network; 0: never.
    pub heartbeat: u32,
    /// 1: sockets that sleep in recv(2) take part.
    pub blocking: u16,
    /// 1: its programs find no MPTCP. Read where the pod is known by its network namespace.
    pub no_mptcp: u16,
    /// [`Policy::AS_NODE`], [`Policy::ACCELERATE`] or [`Policy::OBSERVE`].
    pub mode: u32,
    /// Connections with one of these as local or remote port stay plain TCP; 0 fills the rest.
    pub excluded_ports: [u16; MAX_EXCLUDED_PORTS],
    /// Whoever dials into them enters on trial, as a pod of this node may answer.
    pub service_cidrs: [Cidr; MAX_SERVICE_CIDRS],
}

impl Policy {
    pub const AS_NODE: u32 = 0;
    pub const ACCELERATE: u32 = 1;
    /// Connections are looked at only.
    pub const OBSERVE: u32 = 2;
}
