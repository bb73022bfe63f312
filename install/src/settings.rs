//! What shunt's entry says of the node as a whole, for whoever loads the programs.

use std::path::Path;

use serde::Deserialize as _;
use shim::load::Settings;

use crate::{net_d, world::Disk};

/// As the plugin reads them. Without an entry, or where the plugin would not accept it: the defaults.
pub fn of_node(net_dir: &Path) -> Settings {
    let Ok(net_d::Own { entry, .. }) = net_d::entry(&Disk, net_dir) else {
        return Settings::default();
    };
    Settings {
        watch: shim::layout::Watch::deserialize(&entry["watch"]).ok(),
        observe: entry["mode"] == "observe",
    }
}
