//! `mode`: accelerates connections, or only looks at them.

use std::fmt;

use anyhow::Context as _;
use serde::Serialize;
use shim::datapath::Datapath;

use crate::{
    output::{Exit, Output},
    paths,
};

/// Accelerate new connections, or only look at them and tell what acceleration would give
///
/// Pods with the annotation shunt/mode are not concerned. Connections that are on the short way stay
/// there; `shuntctl drain` takes them off it.
#[derive(clap::Args)]
pub struct Mode {
    #[command(flatten)]
    datapath: paths::Datapath,
    mode: Wanted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Wanted {
    Accelerate,
    Observe,
}

#[derive(Debug, Serialize)]
struct Report {
    mode: Wanted,
}

impl Mode {
    pub fn run(self, output: Output) -> anyhow::Result<Exit> {
        self.datapath.may_look()?;
        let datapath = Datapath::open(&self.datapath.pin_path)?;
        let datapath = datapath.context("nothing is pinned yet; set `mode` in shunt's entry")?;
        datapath.observe(self.mode == Wanted::Observe)?;
        output.print(&Report { mode: self.mode });
        Ok(Exit::Done)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self.mode {
            Wanted::Accelerate => "new connections are accelerated",
            Wanted::Observe => {
                "new connections are only looked at: `shuntctl status` tells what acceleration \
                 would give"
            }
        })
    }
}
