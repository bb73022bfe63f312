//! What shunt's entry says of the node as a whole, for whoever loads the programs.

use std::path::Path;

use serde::Deserialize as _;
use shim::load::Settings;

use crate::{disk::Disk, entry::Wanted, net_d};

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
