//! `serviceCIDRs`: where the cluster's Services have their addresses.

use std::net::IpAddr;

use ipnetwork::{IpNetwork, Ipv6Network};
use serde::Deserialize;
use shim::layout::{Cidr, MAX_SERVICE_CIDRS};

/// Blocks of addresses of which some, not all, are answered on this node.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(try_from = "Vec<IpNetwork>")]
pub struct ServiceCidrs(pub [Cidr; MAX_SERVICE_CIDRS]);

impl TryFrom<Vec<IpNetwork>> for ServiceCidrs {
    type Error = String;
    fn try_from(blocks: Vec<IpNetwork>) -> Result<Self, String> {
        if blocks.len() > MAX_SERVICE_CIDRS {
            return Err(format!("more than {MAX_SERVICE_CIDRS} blocks"));
        }
        let mut cidrs = Self::default();
        for (cidr, block) in cidrs.0.iter_mut().zip(blocks) {
            *cidr = of_block(block)?;
        }
        Ok(cidrs)
    }
}

fn of_block(block: IpNetwork) -> Result<Cidr, String> {
    let (ip, network, prefix) = (block.ip(), block.network(), block.prefix());
    if prefix == 0 {
        return Err(format!("{block} is every address"));
    }
    if ip != network {
        return Err(format!("{block} has bits behind its prefix: {network}/{prefix}?"));
    }
    let block = match network {
        IpAddr::V4(v4) => Ipv6Network::new(v4.to_ipv6_mapped(), 96 + prefix),
        IpAddr::V6(v6) => Ipv6Network::new(v6, prefix),
    };
    let block = block.map_err(|error| error.to_string())?;
    let words = |ip: std::net::Ipv6Addr| {
        let bytes = ip.octets();
        [0, 4, 8, 12]
            .map(|at| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]))
    };
    Ok(Cidr { network: words(block.ip()), mask: words(block.mask()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use shim::layout::Address;

    fn holds(block: &str, ip: &str) -> bool {
        let cidr = of_block(block.parse().unwrap()).unwrap();
        let Address { ip } = Address::from(ip.parse::<IpAddr>().unwrap());
        let words = ip.as_chunks::<4>().0;
        cidr.holds([0, 1, 2, 3].map(|at| u32::from_ne_bytes(words[at])))
    }

    #[test]
    fn a_block_holds_its_addresses_and_no_others() {
        for (block, first, last, before, behind) in [
            ("10.96.0.0/12", "10.96.0.0", "10.111.255.255", "10.95.255.255", "10.112.0.0"),
            ("10.96.0.10/32", "10.96.0.10", "10.96.0.10", "10.96.0.9", "10.96.0.11"),
            ("128.0.0.0/1", "128.0.0.0", "255.255.255.255", "127.255.255.255", "::8000:0"),
            (
                "fd00:10:96::/112",
                "fd00:10:96::",
                "fd00:10:96::ffff",
                "fd00:10:95::",
                "fd00:10:96::1:0",
            ),
            ("8000::/1", "8000::", "ffff::", "7fff::", "10.0.0.1"),
        ] {
            assert!(holds(block, first) && holds(block, last), "{block}");
            assert!(!holds(block, before) && !holds(block, behind), "{block}");
        }
        assert!(!Cidr::default().holds([0; 4]));
    }
}
