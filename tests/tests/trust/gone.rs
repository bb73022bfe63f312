//! What is known of programs is known as long as their pod is there.

use anyhow::{Result, ensure};
use nix::unistd::pause;
use std::io::{Read as _, Write as _};
use tests::{
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
    // The next pod's ADD forgets those that are gone.
    let c = node.pod("c")?;
    let known = node.datapath()?.habits().all()?.len();
    assert_eq!(known, node.habits(&c)?.len());
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
