//! Where things are on this node. All of it can be set, so that two of shunt can live side by side.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use crate::net_d::Reader;

/// Where CRI-O listens, on every distribution that has it.
const CRI_O: &str = "/run/crio/crio.sock";

/// Endings of what runtimes read in their folder (libcni's `ConfFiles`).
const READ: [&str; 3] = ["conf", "conflist", "json"];

#[derive(Clone, Debug, clap::Args)]
pub struct Datapath {
    /// Pin folder, on a bpffs
    #[arg(long, value_name = "DIR", default_value = shim::paths::PINS)]
    pub pin_path: PathBuf,
    /// Held while the datapath is changed. A file beside it, with `.installed` behind its name, says
    /// that shunt is to be on this node
    #[arg(long, value_name = "FILE", default_value = shim::paths::LOCK)]
    pub lock_file: PathBuf,
}

impl Datapath {
    /// Nothing is ever in shunt's lock file: what has content, or is something else, is another's.
    ///
    /// # Errors
    /// It is another's, or its name is one that a runtime reads.
    pub fn check_lock(&self) -> Result<()> {
        let extension = self.lock_file.extension().unwrap_or_default();
        ensure!(
            !READ.iter().any(|read| extension == *read),
            "a runtime may read {}, and find no list in it: give a --lock-file with another ending",
            self.lock_file.display()
        );
        let is_ours = |file: fs::Metadata| file.is_file() && file.len() == 0;
        let is_ours = self.lock_file.symlink_metadata().map_or(true, is_ours);
        let name = self.lock_file.display();
        ensure!(
            is_ours,
            "{name} is no lock file of shunt, which is empty: give another --lock-file"
        );
        Ok(())
    }

    /// What the plugin is told of them, by the names that its entry has for them.
    ///
    /// # Errors
    /// JSON cannot say it, as it is not UTF-8.
    pub fn keys(&self) -> Result<[(&'static str, &str); 2]> {
        Ok([("pinPath", text(&self.pin_path)?), ("lockFile", text(&self.lock_file)?)])
    }

    /// Who may not look sees nothing pinned.
    ///
    /// # Errors
    /// This process may not look into the pin folder.
    pub fn may_look(&self) -> Result<()> {
        match fs::read_dir(&self.pin_path) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                let why = format!("cannot look into {}", self.pin_path.display());
                Err(anyhow::Error::from(error).context(why))
            }
            _ => Ok(()),
        }
    }
}

fn text(path: &Path) -> Result<&str> {
    let name = path.display();
    path.to_str().with_context(|| format!("{name} is not UTF-8, as all of a list has to be"))
}

#[derive(Clone, Debug, clap::Args)]
pub struct Cni {
    /// Where the runtime reads network configurations
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    pub net_dir: PathBuf,
    /// Where the runtime finds plugins
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    pub bin_dir: PathBuf,
    /// Who reads them: CRI-O passes over what it cannot parse, with containerd there is then no
    /// network [default: cri-o where /run/crio/crio.sock is]
    #[arg(long, value_name = "NAME")]
    runtime: Option<Runtime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Runtime {
    Containerd,
    CriO,
}

impl Cni {
    pub fn reader<'a>(&'a self, spoken: &'a [String]) -> Reader<'a> {
        let found = || match Path::new(CRI_O).exists() {
            true => Runtime::CriO,
            false => Runtime::Containerd,
        };
        let skips = self.runtime.unwrap_or_else(found) == Runtime::CriO;
        Reader { net_dir: &self.net_dir, bin_dir: &self.bin_dir, spoken, skips }
    }
}
