//! What is known of programs is known as long as their pod is there.

use anyhow::{Context as _, Result, ensure};
use nix::unistd::pause;
use shim::cgroup::Cgroup;
use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
};
use tests::{
    bare::Bare,
    node::Node,
    task::Signal,
    traffic::{Mode::NonBlocking, PORT, Stream, listen},
};

use super::{slept, talk};

const SIZE: usize = 100;
const ROUNDS: u32 = 10;

pub fn with_the_pod() -> Result<()> {
    let node = Node::learning("goes")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    talk((&b, &a), NonBlocking, slept)?;
    ensure!(!node.habits(&a)?.is_empty() && !node.habits(&b)?.is_empty());
    drop((a, b));
    let c = node.pod("c")?;
    node.datapath()?.sweep()?;
    let known = node.datapath()?.habits().all()?.len();
    assert_eq!(known, node.habits(&c)?.len());
    Ok(())
}

/// All of the map is read to find those of a pod, so that it is done for several.
pub fn or_with_a_few() -> Result<()> {
    let node = Node::new("few")?;
    let most = |node: &Node| -> Result<usize> {
        let mut datapath = node.datapath()?;
        let pods: BTreeSet<_> = datapath.habits().all()?.iter().map(|(it, _)| it.pod).collect();
        Ok(pods.len())
    };
    for number in 0..20 {
        let pod = Bare::new(&node, number)?;
        pod.shunt("ADD")?;
        pod.shunt("DEL")?;
        ensure!(most(&node)? <= 8, "{} of {number}", most(&node)?);
    }
    // The pod's next sandbox, in the same cgroup: nothing is known from before.
    let pod = Bare::new(&node, 0)?;
    pod.shunt("ADD")?;
    let known = || -> Result<Vec<_>> { node.datapath()?.habits().all() };
    let id = Cgroup::open(&pod.cgroup)?.id;
    let program = known()?.into_iter().find(|(it, _)| it.pod == id).context("no habits")?.0;
    node.datapath()?.habits().tolerates(&program)?;
    pod.shunt("DEL")?;
    pod.shunt("ADD")?;
    ensure!(known()?.iter().all(|(it, habit)| it.pod != id || habit.tolerant == 0));
    pod.shunt("DEL")?;
    ensure!(most(&node)? == 1);
    node.datapath()?.sweep()?;
    ensure!(known()?.is_empty());
    Ok(())
}

/// As of a proxy of the node, which has sockets in a pod's network namespace: nothing is handed to them
/// any more, as what they answer goes nowhere.
pub fn with_a_pod_whose_programs_stay() -> Result<()> {
    let node = Node::new("stays")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let [listening, talked, gone] = [(); 3].map(|()| Signal::new());
    let (listening, talked, gone) = (listening?, talked?, gone?);
    let _server = b.spawn(|| {
        let listener = listen((b.ipv4, PORT), NonBlocking)?;
        listening.raise()?;
        let mut stream = Stream::accept(&listener, NonBlocking)?;
        for _ in 0..ROUNDS {
            stream.read_exact(&mut [0; SIZE])?;
            stream.write_all(&[0; SIZE])?;
        }
        pause();
        Ok(())
    })?;
    listening.wait()?;
    let client = a.spawn(|| {
        let mut stream = Stream::connect((b.ipv4, PORT), NonBlocking)?;
        for _ in 0..ROUNDS {
            stream.write_all(&[0; SIZE])?;
            stream.read_exact(&mut [0; SIZE])?;
        }
        talked.raise()?;
        gone.wait()?;
        Ok(stream.write_all(&[0; SIZE])?)
    })?;
    talked.wait()?;
    let before = node.counters(&a)?;
    b.chain.del(&b.call, Some(&b.result))?;
    gone.raise()?;
    client.join()?;
    let after = node.counters(&a)?;
    ensure!(before.shunted.messages >= 9, "{before:?}");
    ensure!(after.shunted.messages == before.shunted.messages, "{after:?}");
    ensure!(after.by_tcp.messages == before.by_tcp.messages + 1, "{after:?}");
    Ok(())
}
