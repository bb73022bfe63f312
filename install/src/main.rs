//! `shuntctl`: puts shunt on a node, keeps it there, shows what it does, and takes it off.

mod install;
mod output;
mod paths;
mod uninstall;
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
    Install(install::Install),
    Uninstall(uninstall::Uninstall),
    Watch(watch::Watch),
}

fn main() -> ExitCode {
    let Cli { output, command } = Cli::parse();
    // RUST_LOG has the last word.
    let level = env_logger::Env::default().default_filter_or("warn,shuntctl=info,shim=info");
    env_logger::Builder::from_env(level).init();
    let done = match command {
        Command::Install(install) => install.run(output),
        Command::Uninstall(uninstall) => uninstall.run(output),
        Command::Watch(watch) => watch.run(output),
    };
    done.unwrap_or_else(|error| output.fail(&error)).into()
}
