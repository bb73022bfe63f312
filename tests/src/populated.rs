//! A node with that many pods on it.

use crate::{bare::Bare, node::Node};
use anyhow::{Context as _, Result, anyhow};
use std::thread;

/// How many are added at once.
const CALLERS: u32 = 4;

pub struct Populated {
    pub pods: u32,
    pub node: Node,
}

impl Populated {
    /// # Errors
    /// An ADD fails.
    pub fn new(pods: u32) -> Result<Self> {
        eprintln!("a node with {pods} pods …");
        let node = Node::new(&format!("with-{pods}"))?;
        // Loads the programs, which takes longer than others wait for it.
        Bare::new(&node, 0)?.shunt("ADD")?;
        let add = &|caller: u32| -> Result<()> {
            for number in (1 + caller..pods).step_by(CALLERS as usize) {
                Bare::new(&node, number)?.shunt("ADD").with_context(|| format!("pod {number}"))?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let callers: Vec<_> =
                (0..CALLERS).map(|caller| scope.spawn(move || add(caller))).collect();
            let mut done =
                callers.into_iter().map(|it| it.join().map_err(|_| anyhow!("panicked"))?);
            done.try_for_each(|done| done)
        })?;
        Ok(Self { pods, node })
    }
}
