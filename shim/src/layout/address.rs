//! Addresses, and whose they are.

use super::PodId;

/// An IPv6 address, or an IPv4 address in its v4-mapped form (`::ffff:a.b.c.d`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    pub ip: [u8; 16],
}

impl From<core::net::IpAddr> for Address {
    fn from(ip: core::net::IpAddr) -> Self {
        let ip = match ip {
            core::net::IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            core::net::IpAddr::V6(v6) => v6,
        };
        Self { ip: ip.octets() }
    }
}

/// A block of addresses. As words in network order, as the kernel has them; an IPv4 block in its
/// v4-mapped form.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cidr {
    pub network: [u32; 4],
    /// All zeroes: no block.
    pub mask: [u32; 4],
}

impl Cidr {
    #[inline(always)]
    pub fn holds(&self, ip: [u32; 4]) -> bool {
        let Self { network: [n0, n1, n2, n3], mask: [m0, m1, m2, m3] } = *self;
        let [ip0, ip1, ip2, ip3] = ip;
        let differ = (ip0 & m0 ^ n0) | (ip1 & m1 ^ n1) | (ip2 & m2 ^ n2) | (ip3 & m3 ^ n3);
        differ == 0 && m0 != 0
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodIp {
    pub pod: PodId,
    /// [`super::Attachment::id`] of the one that brought the address.
    pub attachment: u64,
}
