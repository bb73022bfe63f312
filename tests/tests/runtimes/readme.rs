//! README's "Install on a node", to be followed word by word.

use anyhow::{Context as _, Result, bail};

/// Its commands: what installs, what stays running, what takes shunt off again.
pub struct Commands {
    pub install: Vec<&'static str>,
    pub watch: &'static str,
    pub uninstall: &'static str,
}

/// # Errors
/// It has other commands than those.
pub fn commands() -> Result<Commands> {
    let readme = include_str!("../../../README.md");
    let (_, section) = readme.split_once("## Install on a node\n").context("no such section")?;
    let blocks: Vec<&str> = section.split("```\n").collect();
    // The comments are the shell's too, but they would be in errors.
    let lines = blocks.get(1).context("no block")?.lines();
    let lines: Vec<_> = lines.map(|line| line.split(" # ").next().unwrap_or(line).trim()).collect();
    let [install @ .., watch @ "shuntctl watch", uninstall @ "shuntctl uninstall"] = &lines[..]
    else {
        bail!("not as it was: {lines:?}");
    };
    Ok(Commands { install: install.to_vec(), watch, uninstall })
}
