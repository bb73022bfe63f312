//! What is printed fits the terminal.

use super::named;
use crate::install::host::{Host, talk};
use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use std::process::Command;
use tests::shuntctl;

pub fn tests() -> Vec<Trial> {
    vec![named("fits_the_terminal", fits_the_terminal)]
}

/// All that it names in its own help.
fn commands() -> Result<Vec<String>> {
    let help = String::from_utf8(shuntctl::command()?.arg("--help").output()?.stdout)?;
    let (_, commands) = help.split_once("Commands:\n").context("no commands")?;
    let lines = commands.lines().take_while(|line| !line.is_empty());
    // What a line of help is wrapped to is indented deeper.
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    Ok(names.filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

fn fits(command: &mut Command, columns: usize, is_to_fit: usize) -> Result<String> {
    let output = command.env("COLUMNS", columns.to_string()).output()?;
    let told = String::from_utf8([output.stdout, output.stderr].concat())?;
    for line in told.lines() {
        let is = line.chars().count();
        ensure!(is <= is_to_fit, "{is} columns of {columns}: {line}");
    }
    Ok(told)
}

fn fits_the_terminal() -> Result<()> {
    let host = Host::new("width")?;
    host.write_primary()?;
    ensure!(host.install(&[])?.code == 0);
    let long = |letter: &str| format!("{}-{}", letter.repeat(100), "with-a-name-of-its-own");
    let (a, b) = (host.pod(&long("a"), host.chain()?)?, host.pod(&long("b"), host.chain()?)?);
    talk(&a, &b)?;
    let commands = commands()?;
    ensure!(commands.iter().any(|command| command == "mode"), "{commands:?}");
    // No terminal is narrower than 80.
    for (columns, is_to_fit) in [(80, 80), (120, 120), (20, 80)] {
        for command in &commands {
            fits(shuntctl::command()?.args([command, "--help"]), columns, is_to_fit)?;
        }
        fits(shuntctl::command()?.arg("--help"), columns, is_to_fit)?;
        let paths = [
            format!("--pin-path={}", host.node.pins.display()),
            format!("--net-dir={}", host.net_dir.display()),
            format!("--bin-dir={}", host.bin_dir.display()),
        ];
        fits(shuntctl::command()?.arg("doctor").args(&paths), columns, is_to_fit)?;
        fits(shuntctl::command()?.args(["doctor", "--verbose"]).args(&paths), columns, is_to_fit)?;
        let status = fits(shuntctl::command()?.args(["status", &paths[0]]), columns, is_to_fit)?;
        ensure!(status.contains("aaaaaaaa") && status.contains("bbbbbbbb"), "{status}");
    }
    drop((a, b));
    ensure!(host.uninstall()?.code == 0);
    Ok(())
}
