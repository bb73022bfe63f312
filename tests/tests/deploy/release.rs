//! What `make release` writes, of the binaries that the tests use.

use super::{folder_of_tools, manifest};
use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tests::{cni, node::Node, shuntctl, trial};

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub fn tests() -> [Trial; 1] {
    [trial("deploy::release::is_whole_and_each_time_the_same", is_whole_and_each_time_the_same)]
}

fn is_whole_and_each_time_the_same() -> Result<()> {
    let node = Node::new("release")?;
    let (once, again) = (release(&node.dir.join("once"))?, release(&node.dir.join("again"))?);
    let sums = fs::read_to_string(once.join("SHA256SUMS"))?;
    ensure!(sums == fs::read_to_string(again.join("SHA256SUMS"))?, "{sums}");
    ensure!(sums.lines().count() == 5, "{sums}");
    said(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&once))?;

    let file = |rest: &str| once.join(format!("shunt-{VERSION}{rest}"));
    ensure!(fs::read_to_string(file("-changes.md"))?.contains("### Added"));
    ensure!(manifest("generic")?.matches(&format!("image: shunt:{VERSION}\n")).count() == 2);
    let unpack = |archive: &Path, member: &str| {
        said(
            Command::new("tar")
                .args(["--extract", "--to-stdout", "--file"])
                .arg(archive)
                .arg(member),
        )
    };
    let chart = unpack(&file(".tgz"), "shunt/Chart.yaml")?;
    ensure!(chart.matches(&format!("ersion: {VERSION}\n")).count() == 2, "{chart}");
    let processor = processor()?;
    let image = file(&format!("-image-{processor}.tar"));
    let config: Value = serde_json::from_str(&unpack(&image, "config.json")?)?;
    ensure!(config["config"]["Labels"]["a"] == "b", "{config}");

    let spdx = file(&format!("-{processor}.spdx.json"));
    let validator = ["-m", "spdx_tools.spdx.clitools.pyspdxtools", "--infile"];
    let python = folder_of_tools()?.join("python");
    said(Command::new("python3").args(validator).arg(&spdx).env("PYTHONPATH", python))?;
    let spdx: Value = serde_json::from_str(&fs::read_to_string(spdx)?)?;
    let listed = spdx["files"].as_array().context("files")?;
    for (file, binary) in listed.iter().zip(binaries()?) {
        let sum = said(Command::new("sha256sum").arg(&binary))?;
        let told = file["checksums"][1]["checksumValue"].as_str().context("SHA256")?;
        ensure!(sum.starts_with(told), "{sum}{file}");
    }
    let packages = spdx["packages"].as_array().context("packages")?;
    let has = |name: &str| packages.iter().any(|it| it["name"] == name);
    for name in ["plugin", "install", "shim", "shunt-ebpf", "aya", "aya-ebpf", "glibc", "rust-std"]
    {
        ensure!(has(name), "no {name}");
    }
    ensure!(!has("tests") && !has("libtest-mimic") && !has("syn"));
    Ok(())
}

fn binaries() -> Result<[PathBuf; 2]> {
    Ok([cni::shunt()?, shuntctl::command()?.get_program().into()])
}

fn processor() -> Result<String> {
    Ok(said(Command::new("dpkg").arg("--print-architecture"))?.trim().to_owned())
}

fn release(folder: &Path) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let image = folder.with_extension("tar");
    said(
        Command::new(root.join("deploy/image"))
            .arg(&image)
            .args([&format!("shunt:{VERSION}"), r#"["/shuntctl"]"#])
            .args(binaries()?)
            .env("LABELS", r#"{"a": "b"}"#),
    )?;
    let mut release = Command::new(root.join("scripts/release"));
    // What both processors' images become, `make index` writes.
    release.args([folder, &image]).arg(processor()?).arg(&image).args(binaries()?);
    said(&mut release)?;
    Ok(folder.into())
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {told}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
