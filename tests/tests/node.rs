//! No call of shuntctl leaves a node whose pods cannot be made: what was tried on nodes and went
//! wrong, and what is of its kind.

mod anothers;
mod attributes;
mod binary;
mod claim;
mod doubt;
mod entry;
mod failing;
mod folders;
mod layouts;
mod links;
mod locks;
mod made_lists;
mod net_dirs;
mod owners;
mod prev_result;
mod replaced;
mod rivals;
mod strangers;
mod told;
mod versions;
mod width;

use crate::install::host::Host;
use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tests::{
    needs,
    shuntctl::{self, Answer},
    trial,
};

pub fn tests() -> Vec<Trial> {
    let libcni = env::var_os("CNITOOL").is_some();
    let tests = [
        claim::tests(),
        doubt::tests(),
        binary::tests(),
        links::tests(),
        layouts::tests(),
        entry::tests(),
        locks::tests(),
        told::tests(),
        width::tests(),
        owners::tests(),
        rivals::tests(),
        prev_result::tests(),
        attributes::tests(),
        versions::tests(),
        replaced::tests(),
        folders::tests(),
        net_dirs::tests(),
        made_lists::tests(),
        anothers::tests(),
        failing::tests(),
        strangers::tests(),
    ];
    let lacking = "no cnitool: CNITOOL is not set, `make test` does";
    tests.into_iter().flatten().map(|trial| needs(trial, libcni, lacking)).collect()
}

fn named(name: &str, test: fn() -> Result<()>) -> Trial {
    trial(&format!("node::{name}"), test)
}

/// A command of shuntctl that runs beside the test.
struct Running(Child);

impl Running {
    fn start(host: &Host, command: &str, more: &[&str]) -> Result<Running> {
        let mut shuntctl = shuntctl::command()?;
        shuntctl.args(host.arguments(command)?).args(more).stdout(Stdio::null());
        Ok(Running(shuntctl.stderr(Stdio::null()).spawn().context("shuntctl")?))
    }

    fn code(mut self) -> Result<i32> {
        self.0.wait()?.code().context("killed")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Files below net.d that name shunt.
fn naming(host: &Host) -> Result<Vec<PathBuf>> {
    let mut naming = Vec::new();
    let mut folders = vec![host.net_dir.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false if fs::read_to_string(&path).unwrap_or_default().contains("\"shunt\"") => {
                    naming.push(path);
                }
                false => {}
            }
        }
    }
    Ok(naming)
}

/// A list names shunt, and its binary, its pins and its claim are there; a pod is accelerated.
fn is_whole(host: &Host) -> Result<()> {
    ensure!(naming(host)?.len() == 1, "{:?}", naming(host)?);
    ensure!(host.bin_dir.join("shunt").exists() && host.node.pins.exists());
    is_run_by_libcni(host)?;
    host.accelerates()
}

/// No file names shunt, and nothing of it is there.
fn is_gone(host: &Host) -> Result<()> {
    ensure!(naming(host)?.is_empty(), "{:?}", naming(host)?);
    ensure!(!host.bin_dir.join("shunt").exists() && !host.node.pins.exists());
    is_run_by_libcni(host)
}

/// libcni itself, of two times, loads the node's list and runs it.
fn is_run_by_libcni(host: &Host) -> Result<()> {
    let folder = env::var_os("CNITOOL").context("CNITOOL is not set")?;
    for version in fs::read_dir(folder)? {
        let version = version?.path();
        // As it is the runtime's, its cache of results is.
        let script = "mount -t tmpfs tmpfs /var/lib
            ip netns add cnitool
            trap 'ip netns del cnitool' EXIT
            for verb in add check del; do \"$0\" $verb \"$1\" /run/netns/cnitool; done";
        let output = Command::new("unshare")
            .args(["--mount", "bash", "-euc", script])
            .arg(version.join("cnitool"))
            .arg(&host.node.name)
            .env("NETCONFPATH", &host.net_dir)
            .env("CNI_PATH", &host.bin_dir)
            .output()?;
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        ensure!(output.status.success(), "{}: {told}", version.display());
    }
    Ok(())
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

/// As a container's root, which has only these capabilities.
fn with_capabilities(some: &str, host: &Host, command: &str, more: &[&str]) -> Result<Answer> {
    let bounding: String = some.split(',').map(|one| format!(",+{one}")).collect();
    let shuntctl = shuntctl::command()?;
    let output = Command::new("setpriv")
        .args([format!("--bounding-set=-all{bounding}"), "--inh-caps=-all".into()])
        .arg(shuntctl.get_program())
        .args(host.arguments(command)?)
        .args(more)
        .arg("--json")
        .output()?;
    shuntctl::answer(output)
}
