//! The list of docs/limits.md of what an application could notice: the part of it that a test can read.

use anyhow::{Result, bail, ensure};
use tests::kernel;

use super::scene::Pods;

const LIMITS: &str = include_str!("../../../docs/limits.md");

/// The rows of the list, `` | `name` … | what | where | ``: names, and where they differ.
fn list() -> impl Iterator<Item = (Vec<&'static str>, &'static str)> {
    let list = LIMITS.split("## What an application could notice").nth(1).unwrap_or_default();
    let list = list.split("## What a node could notice").next().unwrap_or_default();
    let rows = list.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    rows.filter_map(|row| {
        let (names, rest) = row.split_once(" | ")?;
        Some((names.trim_end_matches('`').split("`, `").collect(), rest.rsplit_once('|')?.1.trim()))
    })
}

/// Whether it says of a row that it differs on this kernel. `None`: it may.
pub fn lists(name: &str, pods: &Pods) -> Result<Option<bool>> {
    let mut listed = list().filter(|(names, _)| names.contains(&name));
    let Some((_, place)) = listed.next() else { return Ok(Some(false)) };
    Ok(Some(match place.rsplit_once(' ') {
        None => place.is_empty(),
        Some(("before Linux", version)) => kernel::version()? < kernel::parse(version)?,
        Some(("from Linux", version)) => kernel::version()? >= kernel::parse(version)?,
        Some(("where programs are not", "watched")) => !are_watched(pods),
        Some(("some", "kernels")) => return Ok(None),
        Some(_) => bail!("docs/limits.md: {name}: where is {place:?}?"),
    }))
}

pub fn names_only(rows: &[&str]) -> Result<()> {
    let listed: Vec<_> = list().flat_map(|(names, _)| names).collect();
    ensure!(!listed.is_empty(), "no list");
    for name in listed {
        ensure!(rows.contains(&name), "no row is named {name}");
    }
    Ok(())
}

/// Whether anything that watches is loaded.
fn are_watched(pods: &Pods) -> bool {
    let watches = pods.node.pin("watches").read_dir();
    watches.is_ok_and(|mut pins| pins.next().is_some())
}
