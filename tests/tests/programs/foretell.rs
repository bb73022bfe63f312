//! What observe mode foretells of a program is what acceleration then gives.

use crate::{
    play::{conf, kept},
    program::Program,
};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::node::Node;

/// Points of a hundred.
const NEAR: u64 = 5;

/// Tries a program where shunt only looks on, and where it accelerates.
///
/// # Errors
/// Another share of the bytes was foretold, or one took the short way where shunt only looks on.
pub fn is_kept(program: &Program) -> Result<()> {
    let sent = |mode: &str| {
        let mut node = Node::new(mode)?;
        node.conf = conf();
        node.conf.insert("mode".into(), Value::from(mode));
        kept(program, &node).with_context(|| format!("in mode {mode}"))
    };
    let (observed, accelerated) = (sent("observe")?, sent("accelerate")?);
    ensure!(observed.share() == Some(0), "{observed:?} where shunt only looks on");
    let [foretold, given] =
        [observed, accelerated].map(|sent| sent.share_of_bytes().unwrap_or_default());
    ensure!(
        foretold.abs_diff(given) <= NEAR,
        "of a hundred bytes {foretold} were foretold, and {given} took the short way"
    );
    Ok(())
}
