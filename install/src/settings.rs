//! What shunt's entry says of the node as a whole, for whoever loads the programs.

use std::path::Path;

use serde::Deserialize as _;
use shim::{datapath::Datapath, load::Settings};

use crate::{disk::Disk, entry::Wanted, net_d, paths};

/// As the plugin reads them: of the entry that is there, or becomes what is wanted. Without an entry,
/// or where the plugin would not accept it: the defaults.
pub fn of_node(net_dir: &Path, wanted: Option<&Wanted>) -> Settings {
    let own = net_d::entry(&Disk, net_dir).ok().map(|own| own.entry);
    let entry = match wanted {
        Some(wanted) => wanted.beside(own.as_ref()).0,
        None => own.unwrap_or_default(),
    };
    Settings {
        watch: shim::layout::Watch::deserialize(&entry["watch"]).ok(),
        observe: entry["mode"] == "observe",
    }
}

/// What the entry says otherwise than the programs were loaded, and what to do about it.
///
/// # Errors
/// What is pinned cannot be read.
pub fn not_in_force(net_dir: &Path, paths: &paths::Datapath) -> anyhow::Result<Vec<String>> {
    let Some(datapath) = Datapath::open(&paths.pin_path)? else { return Ok(Vec::new()) };
    let Settings { watch, observe } = of_node(net_dir, None);
    let loaded = datapath.node()?.watch;
    let mut told = Vec::new();
    if let Some(watch) = watch.filter(|watch| *watch as u64 != loaded) {
        told.push(format!(
            "the entry's `watch`, {watch:?}, counts from the next load on, if this kernel can do it: call `shuntctl \
             uninstall`, and this again with the same --entry"
        ));
    }
    if observe && !datapath.is_observing()? {
        told.push(
            "the entry's `mode` counts from the next load on: `shuntctl mode observe` sets it now"
                .into(),
        );
    }
    Ok(told)
}
