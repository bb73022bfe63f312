//! `shuntctl`: puts shunt on a node, keeps it there, shows what it does, and takes it off.

mod adopt;
mod attributes;
mod bin_dirs;
mod binary;
mod change;
mod claim;
mod cluster;
mod conflist;
mod daemon_set;
mod disk;
mod doctor;
mod drain;
mod entry;
mod http;
mod install;
mod keeper;
mod keys;
mod libcni;
mod links;
mod made_with;
mod metrics;
mod mode;
mod net_d;
mod net_dirs;
mod output;
mod paths;
mod pods;
mod programs;
mod removal;
mod replace;
mod rewrites;
#[cfg(test)]
mod search;
mod settings;
mod status;
mod unable;
mod uninstall;
mod upgrade;
mod watch;
mod width;
mod world;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, error::ErrorKind};
use nix::sys::signal::{SigSet, Signal};
use output::{Exit, Output};

/// Puts shunt on a node, keeps it there, shows what it does, and takes it off.
#[derive(Parser)]
#[command(name = "shuntctl", version, after_help = output::EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Adopt(adopt::Adopt),
    Doctor(doctor::Doctor),
    Drain(drain::Drain),
    Install(install::Install),
    Mode(mode::Mode),
    Status(status::Status),
    Uninstall(uninstall::Uninstall),
    Upgrade(upgrade::Upgrade),
    Watch(watch::Watch),
}

fn main() -> ExitCode {
    // Beyond RLIMIT_FSIZE a write then fails, and what was begun is put right. No child inherits it.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    let _ = signals.thread_block();
    let Cli { output, command } = match parse() {
        Ok(cli) => cli,
        Err(exit) => return exit,
    };
    // RUST_LOG has the last word.
    let level = env_logger::Env::default().default_filter_or("warn,shuntctl=info,shim=info");
    env_logger::Builder::from_env(level).init();
    let done = match command {
        Command::Adopt(adopt) => adopt.run(output),
        Command::Doctor(doctor) => doctor.run(output),
        Command::Drain(drain) => drain.run(output),
        Command::Install(install) => install.run(output),
        Command::Mode(mode) => mode.run(output),
        Command::Status(status) => status.run(output),
        Command::Uninstall(uninstall) => uninstall.run(output),
        Command::Upgrade(upgrade) => upgrade.run(output),
        Command::Watch(watch) => watch.run(output),
    };
    output.end(done.unwrap_or_else(|error| output.fail(error))).into()
}

/// Help is an answer like others: it fits the terminal, and that it cannot be written is a failure.
fn parse() -> Result<Cli, ExitCode> {
    let command = Cli::command().term_width(width::width());
    let parsed = command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| match (error.print(), error.kind()) {
        (Err(_), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => Exit::Failed.into(),
        _ => ExitCode::from(error.exit_code() as u8),
    })
}
