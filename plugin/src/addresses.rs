//! A pod's addresses: those that other pods reach it by.

use std::{fs::File, net::IpAddr, thread};

use anyhow::{Context, Result, anyhow};
use futures_util::TryStreamExt as _;
use nix::sched::{CloneFlags, setns};
use rtnetlink::packet_route::address::AddressAttribute;
use tokio::runtime::Builder;

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
        Builder::new_current_thread().enable_io().build()?.block_on(of_this_namespace())
    });
    let addresses = addresses.join().map_err(|_| anyhow!("panicked"))?;
    addresses.with_context(|| format!("addresses in {path}"))
}

async fn of_this_namespace() -> Result<Vec<IpAddr>> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    let addresses: Vec<_> = handle.address().get().execute().try_collect().await?;
    Ok(addresses.iter().filter_map(|message| own(&message.attributes)).collect())
}

/// Where there are both, the other is the far end's (rtnetlink(7)).
fn own(attributes: &[AddressAttribute]) -> Option<IpAddr> {
    let local = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    };
    let any = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Address(ip) => Some(*ip),
        _ => None,
    };
    attributes.iter().find_map(local).or_else(|| attributes.iter().find_map(any))
}
