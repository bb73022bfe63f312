//! `doctor`: what this node can do, and why not. Found by trying, never by a version.

mod cgroups;
mod finding;
mod in_list;
mod kernel;
mod lockdown;
mod pinned;

use finding::{Finding, Verdict};
use nix::{errno::Errno, unistd::geteuid};

use crate::{
    output::{Exit, Output},
    paths,
};

/// Tell what this node can do for its pods, and what to do about the rest
///
/// Ends with 0 also where something is limited, and with 3 where pods cannot be accelerated.
#[derive(clap::Args)]
pub struct Doctor {
    #[command(flatten)]
    datapath: paths::Datapath,
    #[command(flatten)]
    cni: paths::Cni,
}

impl Doctor {
    pub fn run(self, output: Output) -> anyhow::Result<Exit> {
        self.datapath.may_look()?;
        let mut findings = findings(&self.datapath, &self.cni);
        let cannot = findings.iter().any(|finding| finding.verdict == Verdict::No);
        if cannot && !geteuid().is_root() {
            let why = "cannot find out whether this node can accelerate";
            return Err(anyhow::Error::from(Errno::EPERM).context(why));
        }
        if !output.verbose {
            findings.iter_mut().for_each(|finding| finding.detail = None);
        }
        output.print(&verdict(&findings));
        findings.iter().for_each(|finding| output.print(finding));
        Ok(if cannot { Exit::CannotAccelerate } else { Exit::Done })
    }
}

/// All that can be known before a pod comes.
pub fn findings(datapath: &paths::Datapath, cni: &paths::Cni) -> Vec<Finding> {
    let mut findings = vec![kernel::kernel(), lockdown::lockdown(), kernel::fields()];
    findings.extend(kernel::programs(pinned::watch(&datapath.pin_path)));
    findings.extend([kernel::jit(), pinned::bpffs(&datapath.pin_path), cgroups::cgroups()]);
    findings.extend([cgroups::foreign_programs(), cgroups::neighbours()]);
    findings.extend([cgroups::net_cls(), kernel::mptcp(), pinned::pins(&datapath.pin_path)]);
    findings
        .extend([pinned::lock(&datapath.lock_file), in_list::conflist(cni, &datapath.lock_file)]);
    findings
}

/// What follows from all of them.
fn verdict(findings: &[Finding]) -> Finding {
    let of = |verdict| {
        let checks = findings.iter().filter(|finding| finding.verdict == verdict);
        checks.map(|finding| finding.check).collect::<Vec<_>>().join("; ")
    };
    let (no, limited) = (of(Verdict::No), of(Verdict::Limited));
    const CHECK: &str = "verdict";
    if !no.is_empty() {
        let found = format!("pods of this node cannot be accelerated: {no}");
        Finding { todo: None, ..Finding::no(CHECK, found, "") }
    } else if !limited.is_empty() {
        let found = format!("pods of this node can be accelerated, with limits: {limited}");
        Finding { todo: None, ..Finding::limited(CHECK, found, "") }
    } else {
        Finding::ok(CHECK, "pods of this node can be accelerated")
    }
}
