//! The manifests in deploy/, against the schemas of Kubernetes. Whether they do what they should,
//! `make test-k8s` tells.

mod chart;
mod monitoring;
mod release;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use std::{
    env,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tests::{needs, trial};

/// The oldest and the newest that the validator knows. `make test-k8s` asks API servers.
const VERSIONS: [&str; 2] = ["1.25", "1.37"];

pub fn tests() -> Vec<Trial> {
    let there = env::var_os("DEPLOY").is_some();
    let trials = [
        trial("deploy::manifests_are_what_kubernetes_takes", manifests_are_what_kubernetes_takes),
        trial("deploy::a_key_that_is_misspelt_is_seen", a_key_that_is_misspelt_is_seen),
    ];
    let trials = trials.into_iter().chain(monitoring::tests()).chain(release::tests());
    let trials = trials
        .map(|trial| needs(trial, there, "no validator: DEPLOY is not set, `make test` does"));
    trials.chain(chart::tests()).collect()
}

fn manifests_are_what_kubernetes_takes() -> Result<()> {
    for cluster in ["generic", "terway", "calico", "monitoring"] {
        // Without what is the Prometheus operator's own.
        let manifest = manifest(cluster)?;
        let objects = manifest.split_inclusive("---\n");
        let manifest: String =
            objects.filter(|it| !it.contains("apiVersion: monitoring.coreos.com/")).collect();
        ensure!(manifest.contains("kind: DaemonSet"), "{cluster}: {manifest}");
        for version in VERSIONS {
            validate(&manifest, version).with_context(|| format!("{cluster}, {version}"))?;
        }
    }
    Ok(())
}

fn a_key_that_is_misspelt_is_seen() -> Result<()> {
    let wrong = manifest("generic")?.replace("hostPID:", "hostPid:");
    for version in VERSIONS {
        let told = validate(&wrong, version).err().context("taken")?.to_string();
        ensure!(told.contains("hostPid"), "{told}");
    }
    Ok(())
}

/// What `kubectl apply -k` sends.
fn manifest(cluster: &str) -> Result<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(cluster);
    let kubectl = folder_of_tools()?.join("root/usr/bin/kubectl");
    let output = Command::new(kubectl).arg("kustomize").arg(folder).output().context("kubectl")?;
    ensure!(output.status.success(), "{cluster}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Fails with what the validator says, also of keys that no schema has.
fn validate(manifest: &str, version: &str) -> Result<()> {
    let mut validator = Command::new("python3")
        .args(["-m", "kubernetes_validate", "--strict", "-k", version, "/dev/stdin"])
        .env("PYTHONPATH", folder_of_tools()?.join("python"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    validator.stdin.take().context("stdin")?.write_all(manifest.as_bytes())?;
    let output = validator.wait_with_output()?;
    let told = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&told));
    Ok(())
}

/// Where `scripts/setup deploy` has put them.
fn folder_of_tools() -> Result<PathBuf> {
    Ok(env::var_os("DEPLOY").context("DEPLOY is not set")?.into())
}
