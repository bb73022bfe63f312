//! Where things are on this node. All of it can be set, so that two of shunt can live side by side.

use std::path::PathBuf;

#[derive(Clone, Debug, clap::Args)]
pub struct Datapath {
    /// Pin folder, on a bpffs
    #[arg(long, value_name = "DIR", default_value = shim::paths::PINS)]
    pub pin_path: PathBuf,
    /// Held while the datapath is changed
    #[arg(long, value_name = "FILE", default_value = shim::paths::LOCK)]
    pub lock_file: PathBuf,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Cni {
    /// Where the runtime reads network configurations
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    pub net_dir: PathBuf,
    /// Where the runtime finds plugins
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    pub bin_dir: PathBuf,
}
