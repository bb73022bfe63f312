//! What observe mode foretells of a program is what acceleration then gives.

use crate::{
    play::{Mode, conf, patience, play},
    program::Program,
};
use anyhow::{Context as _, Result, ensure};
use tests::node::Node;

/// Points of a hundred.
const NEAR: u64 = 5;

/// Plays it where shunt only looks on. `given`: of a hundred bytes, those that took the short way.
///
/// # Errors
/// Another share was foretold, or a byte took the short way.
pub fn is_given(program: &Program, given: Option<u64>) -> Result<()> {
    let mut node = Node::new("observe")?;
    node.conf = conf();
    node.conf.insert("mode".into(), "observe".into());
    let observed = play(program, &node, true, |_| patience()).context("in observe mode")?;
    let kept = observed.answers.iter().find(|answer| answer.mode == Mode::Keep);
    let sent = kept.context("it hangs in observe mode")?.sent;
    ensure!(sent.share() == Some(0), "{sent:?} in observe mode");
    let foretold = sent.share_of_bytes();
    ensure!(
        foretold.unwrap_or(0).abs_diff(given.unwrap_or(0)) <= NEAR,
        "of a hundred bytes {foretold:?} were foretold, and {given:?} took the short way"
    );
    Ok(())
}
