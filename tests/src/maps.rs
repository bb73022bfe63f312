//! What shunt's maps have in memory on a node.

use crate::{bpftool::bpftool, node::Node};
use anyhow::{Context as _, Result};
use shim::layout::name;
use std::ffi::OsStr;

/// Bytes of all its maps, as the kernel counts them: what it has for single sockets (their storage) is not in it.
///
/// # Errors
/// bpftool is missing, or nothing is pinned.
pub fn memory(node: &Node) -> Result<u64> {
    name::MAPS
        .iter()
        .map(|map| {
            let pin = node.pin(map);
            let shown = bpftool(
                ["map", "show", "pinned"].map(OsStr::new).into_iter().chain([pin.as_os_str()]),
            )?;
            let bytes = &shown["bytes_memlock"];
            let bytes = bytes.as_u64().or_else(|| bytes.as_str()?.parse().ok());
            bytes.with_context(|| format!("{map}: {shown}"))
        })
        .sum()
}
