//! `shuntctl`: puts shunt on a node, keeps it there, shows what it does, and takes it off.

mod adopt;
mod binary;
mod change;
mod claim;
mod conflist;
mod daemon_set;
mod doctor;
mod drain;
mod entry;
mod install;
mod metrics;
mod mode;
mod net_d;
mod output;
mod paths;
mod pods;
mod programs;
mod rewrites;
mod settings;
mod status;
mod uninstall;
mod upgrade;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use output::Output;

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
    let Cli { output, command } = Cli::parse();
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
    done.unwrap_or_else(|error| output.fail(&error)).into()
}
