//! What real programs do with their sockets, each thing by itself: between two pods that shunt never
//! heard of and between two attached ones. Both must see the same bytes, errors and ends.

mod bandwidth;
mod batch;
mod blocked_recv;
mod conntrack;
mod conversation;
mod edge;
mod fionread;
mod heartbeat;
mod learned;
mod memory;
mod mode;
mod neighbours;
mod peek;
mod pool;
mod share;
mod sleep;
mod splice;
pub mod talk;
mod uring;
mod zerocopy;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use std::{fmt::Debug, time::Duration};
use tests::{
    node::Node,
    pod::{Pod, PodSpec},
    trial,
};

pub fn tests() -> Vec<Trial> {
    let programs = [
        fionread::PROGRAMS,
        splice::PROGRAMS,
        blocked_recv::PROGRAMS,
        sleep::PROGRAMS,
        mode::PROGRAMS,
        edge::PROGRAMS,
        peek::PROGRAMS,
        uring::PROGRAMS,
        zerocopy::PROGRAMS,
        batch::PROGRAMS,
    ];
    let programs = programs.into_iter().flatten().map(conversation::trial);
    let others = [
        fionread::tests(),
        splice::tests(),
        conntrack::tests(),
        neighbours::tests(),
        heartbeat::tests(),
        bandwidth::tests(),
        memory::tests(),
        peek::tests(),
        pool::tests(),
    ];
    let alone = [
        trial("cases::share_counts_what_stays_tcp", share::counts_what_stays_tcp),
        trial(
            "cases::share_is_right_while_a_connection_is_open",
            share::is_right_while_a_connection_is_open,
        ),
        trial("cases::nothing_of_what_leaves_is_learned", learned::nothing_of_what_leaves),
    ];
    programs.chain(others.into_iter().flatten()).chain(alone).collect()
}

/// Where a case happens: two pods of one kind.
pub struct Pair<'a> {
    pub server: &'a Pod,
    pub client: &'a Pod,
}

/// How long anything may take before it "hangs". More on emulated kernels, but not by their whole
/// factor: most is spent where nothing is to come.
pub fn patience() -> Duration {
    Duration::from_secs(if std::env::var_os("SHUNT_TEST_SCALE").is_some() { 20 } else { 4 })
}

/// What is seen by plain TCP, which must be the same between attached pods.
///
/// # Errors
/// It is not, with both; or something hangs by plain TCP.
pub fn same<T: PartialEq + Debug>(name: &str, see: impl Fn(&Pair) -> Result<T>) -> Result<T> {
    same_on(&Node::learning(name)?, see)
}

fn same_on<T: PartialEq + Debug>(node: &Node, see: impl Fn(&Pair) -> Result<T>) -> Result<T> {
    let pods = |make: fn(&Node, &str) -> Result<Pod>| -> Result<[Pod; 2]> {
        Ok([make(node, "server")?, make(node, "client")?])
    };
    let look = |[server, client]: &[Pod; 2]| see(&Pair { server, client });
    let plain = look(&pods(Node::outside)?).context("by plain TCP")?;
    ensure!(!format!("{plain:?}").contains("hangs"), "by plain TCP: {plain:?}");
    let pods = pods(Node::pod)?;
    let attached = look(&pods).context("between attached pods")?;
    let to_tcp = || pods.each_ref().map(|pod| node.counters(pod).map(|counters| counters.to_tcp));
    ensure!(
        plain == attached,
        "by plain TCP: {plain:?}\nbetween attached pods: {attached:?}, {:?}",
        to_tcp()
    );
    Ok(plain)
}

/// A second between heartbeats, so that a test need not wait for the default.
pub fn beat_each_second(spec: &mut PodSpec) {
    spec.conf.insert("heartbeat".into(), 1.into());
}
