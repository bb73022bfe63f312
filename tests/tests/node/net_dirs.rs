//! The plugin stays as long as a folder may need it that somebody has installed it for, whatever has
//! become of what tells so.

use super::{is_gone, is_run_by_libcni, name, named};
use crate::install::host::Host;
use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use serde_json::json;
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};
use tests::{needs, shuntctl::Answer};

pub fn tests() -> Vec<Trial> {
    let strace = Path::new("/usr/bin/strace").exists();
    vec![
        named("claim_or_record_is_lost", claim_or_record_is_lost),
        named("claim_or_record_is_broken", claim_or_record_is_broken),
        needs(named("killed_as_it_writes", killed_as_it_writes), strace, "no strace"),
        named("folder_is_away", folder_is_away),
        named("one_bin_and_two_locks", one_bin_and_two_locks),
    ]
}

/// Two folders with all but their lists in common.
fn two() -> Result<(Host, Host)> {
    let host = Host::new("one-bin")?;
    let mut other = Host::new("one-bin-other")?;
    (other.bin_dir, other.node.pins, other.node.lock) =
        (host.bin_dir.clone(), host.node.pins.clone(), host.node.lock.clone());
    for host in [&host, &other] {
        host.write_primary()?;
        ensure!(host.install(&[])?.code == 0);
    }
    Ok((host, other))
}

fn claim(host: &Host) -> PathBuf {
    PathBuf::from(format!("{}.installed", host.node.lock.display()))
}

fn record(host: &Host) -> PathBuf {
    host.bin_dir.join(".shunt.net-dirs")
}

/// One is without an entry, the other as it was.
fn is_kept_for(other: &Host, host: &Host) -> Result<()> {
    ensure!(fs::read_to_string(host.list())? == host.primary(0));
    ensure!(host.bin_dir.join("shunt").exists() && host.node.pins.exists());
    is_run_by_libcni(other)
}

fn ends(host: &Host, other: &Host) -> Result<()> {
    ensure!(other.uninstall()?.code == 0 && host.uninstall()?.code == 0);
    is_gone(host)?;
    ensure!(!claim(host).exists() && !record(host).exists());
    Ok(())
}

fn claim_or_record_is_lost() -> Result<()> {
    type Loss = fn(&Host) -> std::io::Result<()>;
    let losses: [Loss; 4] = [
        |host| fs::remove_file(claim(host)),
        |host| fs::write(claim(host), ""),
        |host| fs::write(claim(host), "{}"),
        |host| fs::remove_file(record(host)),
    ];
    for loss in losses {
        let (host, other) = two()?;
        loss(&host)?;
        for _ in 0..2 {
            let left = host.uninstall()?;
            ensure!(left.code == 0 && left.json["wanted_by"] == json!(other.net_dir), "{left:?}");
            is_kept_for(&other, &host)?;
        }
        ends(&host, &other)?;
    }
    Ok(())
}

fn claim_or_record_is_broken() -> Result<()> {
    let (host, other) = two()?;
    let half = r#"{"leaving":false,"pod":"","net_di"#;
    for (file, text) in [
        (claim(&host), half),
        (claim(&host), "?"),
        (record(&host), ""),
        (record(&host), r#"["/x""#),
        (record(&host), "{}"),
    ] {
        fs::write(&file, text)?;
        for _ in 0..2 {
            let left = host.uninstall()?;
            says(&left, &format!("{} cannot be parsed", name(&file)), "call `shuntctl install`")?;
            is_kept_for(&other, &host)?;
        }
        ensure!(host.install(&[])?.code == 0 && other.install(&[])?.code == 0);
        ensure!(host.uninstall()?.json["wanted_by"] == json!(other.net_dir), "{text}");
        ensure!(host.install(&[])?.code == 0);
    }
    ends(&host, &other)
}

fn says(answer: &Answer, error: &str, next: &str) -> Result<()> {
    let told = |key: &str| answer.json[key].as_str().unwrap_or_default();
    ensure!(answer.code == 1 && told("error").contains(error), "{answer:?}");
    ensure!(told("stays").contains("plugin") && told("next").contains(next), "{answer:?}");
    Ok(())
}

/// Whatever of it is written then is whole.
fn killed_as_it_writes() -> Result<()> {
    for call in ["pwrite64:signal=KILL", "pwrite64:error=ENOSPC", "ftruncate:signal=KILL"] {
        let (host, other) = two()?;
        let shuntctl = tests::shuntctl::command()?;
        let mut traced = Command::new("strace");
        traced.args(["-qq", "-o", "/dev/null", "-P", &name(&claim(&host))]);
        traced.args(["-e", &format!("inject={call}")]).arg(shuntctl.get_program());
        let ended = traced.args(host.arguments("uninstall")?).output()?;
        ensure!(!ended.status.success(), "{call}: {ended:?}");
        let left = host.uninstall()?;
        ensure!(left.json["wanted_by"] == json!(other.net_dir), "{call}: {left:?}");
        is_kept_for(&other, &host)?;
        ends(&host, &other)?;
    }
    Ok(())
}

fn folder_is_away() -> Result<()> {
    let (host, mut other) = two()?;
    let (there, away) = (other.net_dir.clone(), other.node.dir.join("away"));
    let is_missed = |gone: &Path| {
        let forgets = format!("`shuntctl uninstall --net-dir {}`", gone.display());
        says(&host.uninstall()?, &name(gone), &forgets)
    };
    for _ in 0..2 {
        fs::rename(&there, &away)?;
        is_missed(&there)?;
        fs::rename(&away, &there)?;
        is_kept_for(&other, &host)?;
    }
    // By a link, which is away.
    other.net_dir = other.node.dir.join("link");
    symlink(&there, &other.net_dir)?;
    ensure!(other.install(&[])?.code == 0);
    fs::remove_file(&other.net_dir)?;
    is_missed(&other.net_dir)?;
    // Neither comes back.
    fs::rename(&there, &away)?;
    let forgets = |gone: &Path| -> Result<i32> {
        let mut arguments = host.arguments("uninstall")?;
        arguments.retain(|it| !it.starts_with("--net-dir"));
        arguments.extend(["--settle=0s".into(), format!("--net-dir={}", gone.display())]);
        let missed = tests::shuntctl::run(arguments.clone())?;
        says(&missed, &name(gone), "--net-dir-gone")?;
        arguments.push("--net-dir-gone".into());
        Ok(tests::shuntctl::run(arguments)?.code)
    };
    ensure!(forgets(&other.net_dir)? == 1, "the other is missed");
    is_missed(&there)?;
    ensure!(forgets(&there)? == 0);
    is_gone(&host)?;
    ensure!(!claim(&host).exists() && !record(&host).exists());
    Ok(())
}

/// Programs and lock go with the one, the plugin with the last.
fn one_bin_and_two_locks() -> Result<()> {
    let host = Host::new("two-locks-one")?;
    let mut other = Host::new("two-locks-two")?;
    other.bin_dir = host.bin_dir.clone();
    for host in [&host, &other] {
        host.write_primary()?;
        ensure!(host.install(&[])?.code == 0);
    }
    let left = host.uninstall()?;
    ensure!(left.code == 0 && left.json["wanted_by"] == json!(other.net_dir), "{left:?}");
    ensure!(!host.node.pins.exists() && !host.node.lock.exists() && !claim(&host).exists());
    super::is_whole(&other)?;
    ensure!(other.uninstall()?.code == 0);
    is_gone(&other)?;
    ensure!(!record(&host).exists());
    Ok(())
}
