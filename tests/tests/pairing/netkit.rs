//! Pods behind netkit devices, as some primary CNIs make them from Linux 6.7 on, instead of veth.

use super::{Count, EXCHANGES, between, command};
use anyhow::Result;
use std::net::IpAddr;
use tests::{node::Node, pod::Pod};

/// This kernel has them; asked for in the sandbox of the tests.
pub fn is_there() -> bool {
    command("ip", "link add nk-try type netkit")
        .is_ok_and(|()| command("ip", "link del nk-try").is_ok())
}

/// The way from socket to socket is found by what a packet carries, so it must survive the device.
pub fn between_netkit_devices() -> Result<()> {
    let node = Node::new("netkit")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    connect(&a, "nk-a")?;
    connect(&b, "nk-b")?;
    for ip in [IpAddr::from(b.ipv4), b.ipv6.into()] {
        let counts = [Count::start(&node, &a)?, Count::start(&node, &b)?];
        between(&b, ip, &a, ip)?;
        counts.into_iter().try_for_each(|count| count.shunted(1, EXCHANGES))?;
    }
    Ok(())
}

/// In place of its veth, with the node as router.
fn connect(pod: &Pod, device: &str) -> Result<()> {
    let ip = |args: String| command("ip", &args);
    let netns = pod.netns.display();
    // `ip` of Debian 12 has no options for the kind; the kernel itself calls the peer nk0.
    ip(format!("link add {device} type netkit"))?;
    ip(format!("link set nk0 netns {netns}"))?;
    ip(format!("link set {device} up"))?;
    pod.run(|| {
        for args in ["link del eth0", "link set nk0 name eth0", "link set eth0 up"] {
            ip(args.into())?;
        }
        Ok(())
    })?;
    for address in [IpAddr::from(pod.ipv4), pod.ipv6.into()] {
        ip(format!("route add {address} dev {device}"))?;
        pod.run(|| {
            let family = if address.is_ipv4() { "-4" } else { "-6" };
            ip(format!("addr add {address} dev eth0"))?;
            ip(format!("{family} route add default dev eth0"))
        })?;
    }
    Ok(())
}
