//! A mesh without sidecars: each pod's connections are captured by a proxy of the node, whose sockets are
//! in the pod's network namespace and in another pod's cgroup.

mod crowd;
mod disturbed;
mod kmesh;
mod leaving;
mod legs;

use anyhow::Result;
use libtest_mimic::Trial;
use std::net::{Ipv4Addr, SocketAddrV4};
use tests::{
    ambient,
    leg::{Counted, Leg},
    node::Node,
    pod::{Pod, PodSpec},
    relay::Relay,
    task::{Signal, Task},
    traffic::{self, Mode::NonBlocking, PORT, Pattern, Stream, listen},
    trial,
};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("mesh::each_leg_takes_the_short_way", legs::each_leg_takes_the_short_way),
        trial("mesh::a_proxy_older_than_shunt", legs::a_proxy_older_than_shunt),
        trial("mesh::what_leaves_never_enters", leaving::what_leaves_never_enters),
        trial("mesh::beside_kmesh", kmesh::beside_kmesh),
        trial("mesh::errors_are_those_without_shunt", disturbed::errors_are_those_without_shunt),
    ]
}

/// A Service's address.
const SERVICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 10), 80);
const CONNECTIONS: usize = 4;
const SIZE: usize = 1000;
const ASK: Pattern = Pattern { seed: 1 };
const ANSWER: Pattern = Pattern { seed: 2 };

/// Where the proxy of the node lives.
fn proxy_pod(node: &Node) -> Result<Pod> {
    let mut spec = PodSpec::new("ztunnel-x7k2p");
    spec.namespace = "istio-system".into();
    node.pod_with(spec)
}

/// Captured from now on, by these.
fn enrol(pod: &Pod, relays: &[&Relay]) -> Result<()> {
    relays.iter().try_for_each(|relay| relay.enrol(pod))?;
    ambient::enrol(pod)
}

/// Answers so many connections, one after the other; how their bytes went.
fn serve(pod: &Pod, leg: &'static str, exchanges: u64) -> Result<Task<Vec<Leg>>> {
    let listening = Signal::new()?;
    let task = pod.spawn(|| {
        let listener = listen((pod.ipv4, PORT), NonBlocking)?;
        listening.raise()?;
        let one = |_| {
            let mut stream = Counted::new(Stream::accept(&listener, NonBlocking)?);
            traffic::exchange(&mut stream, [ANSWER, ASK], false, SIZE, exchanges)?;
            stream.leg(leg)
        };
        (0..CONNECTIONS).map(one).collect()
    })?;
    listening.wait()?;
    Ok(task)
}

/// Asks on so many connections, one after the other; how their bytes went.
fn ask(pod: &Pod, to: SocketAddrV4, leg: &'static str, exchanges: u64) -> Result<Vec<Leg>> {
    let one = |_| {
        let mut stream = Counted::new(Stream::connect(to, NonBlocking)?);
        traffic::exchange(&mut stream, [ASK, ANSWER], true, SIZE, exchanges)?;
        stream.leg(leg)
    };
    pod.run(|| (0..CONNECTIONS).map(one).collect())
}
