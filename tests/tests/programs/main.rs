//! Programs that people run, each as server and, where it has one, as client: what they answer over
//! plain TCP and with shunt must be the same, and what they do must go the short way.

mod clients;
mod files;
mod foretell;
mod measure;
mod pairs;
mod play;
mod program;
mod proxies;
mod servers;
mod table;
mod verdict;

use anyhow::{Context as _, Result, bail};
use libtest_mimic::Trial;
use nix::mount::{MsFlags, mount};
use program::Program;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    if let [verb, console] = &args[..]
        && verb == "merge"
    {
        return ended(table::merge(Path::new(console)), ExitCode::SUCCESS);
    }
    let tested = tests::run(unfold, trials);
    // In the sandbox: outside of it, `run` does not come back.
    ended(table::write(), tested)
}

fn ended(done: Result<()>, code: ExitCode) -> ExitCode {
    done.map_or_else(
        |error| {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        },
        |()| code,
    )
}

fn all() -> Vec<Program> {
    [servers::ALL, clients::ALL, proxies::ALL, pairs::ALL].concat()
}

fn trials() -> Vec<Trial> {
    let one = |program: Program| {
        let test = move || verdict::of(&program).map_err(|error| format!("{error:#}").into());
        Trial::test(program.id(), test)
    };
    let programs = all().into_iter().map(one);
    programs.chain([tests::trial("table::short", table::is_true)]).collect()
}

/// Lays Debian's packages over this sandbox's /usr, so that they are where they expect to be, and
/// puts the rest where users that are not root may go.
fn unfold() -> Result<()> {
    let unpacked = path("PROGRAMS")?;
    let layers = format!("lowerdir={}:/usr", unpacked.join("root/usr").display());
    let (overlay, read_only) = (Some("overlay"), MsFlags::MS_RDONLY);
    mount(overlay, "/usr", overlay, read_only, Some(layers.as_str())).with_context(|| layers)?;
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs");
    for (from, to) in [(&unpacked, program::UNPACKED), (&sources, program::SOURCES)] {
        fs::create_dir(to)?;
        let none = None::<&str>;
        let bind = |from: Option<&Path>, flags| {
            mount(from, to, none, MsFlags::MS_BIND | flags, none)
                .with_context(|| format!("mount {to}"))
        };
        bind(Some(from), MsFlags::empty())?;
        bind(None, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY)?;
    }
    tests::envoy::mount(&path("ENVOY")?)?;
    Ok(())
}

fn path(variable: &str) -> Result<PathBuf> {
    match env::var_os(variable) {
        Some(path) => Ok(path.into()),
        None => bail!("{variable} is not set: make test-programs sets it"),
    }
}
