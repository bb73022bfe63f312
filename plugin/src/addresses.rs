//! A pod's addresses: those that other pods reach it by.

use std::{fs::File, net::IpAddr, thread};

use anyhow::{Context, Result, anyhow};
use nix::{
    ifaddrs::getifaddrs,
    sched::{CloneFlags, setns},
    sys::socket::SockaddrStorage,
};

/// What prevResult told, or else what the pod's network namespace has.
///
/// # Errors
/// `netns` was needed, and is no network namespace or may not be entered.
pub fn of_pod(told: Vec<IpAddr>, netns: &str) -> Result<Vec<IpAddr>> {
    let all = if told.is_empty() { inside(netns)? } else { told };
    Ok(all.into_iter().filter(is_of_one_pod).collect())
}

/// Every pod has 127.0.0.1, and two pods may well have the same link-local address.
fn is_of_one_pod(ip: &IpAddr) -> bool {
    !ip.is_loopback()
        && match ip {
            IpAddr::V4(ip) => !ip.is_link_local(),
            IpAddr::V6(ip) => !ip.is_unicast_link_local(),
        }
}

fn inside(path: &str) -> Result<Vec<IpAddr>> {
    let netns = File::open(path).with_context(|| path.to_owned())?;
    // A thread of its own, as it stays in the namespace that it enters.
    let addresses = thread::spawn(move || {
        setns(netns, CloneFlags::CLONE_NEWNET)?;
        getifaddrs().map(|all| all.filter_map(|interface| interface.address).collect::<Vec<_>>())
    });
    let addresses = addresses.join().map_err(|_| anyhow!("panicked"))?;
    let addresses = addresses.with_context(|| format!("addresses in {path}"))?;
    let ip = |address: &SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or(address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    };
    Ok(addresses.iter().filter_map(ip).collect())
}
