//! deploy/chart, rendered by Helm.

use super::{VERSIONS, folder_of_tools, manifest, validate};
use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tests::{needs, trial};

pub fn tests() -> Vec<Trial> {
    let there = env::var_os("HELM").is_some_and(|helm| !helm.is_empty());
    let trials = [
        trial("deploy::chart::makes_what_the_manifests_have", makes_what_the_manifests_have),
        trial("deploy::chart::each_profile_is_valid", each_profile_is_valid),
        trial("deploy::chart::what_is_set_arrives", what_is_set_arrives),
        trial("deploy::chart::a_value_that_is_misspelt_is_seen", a_misspelt_value_is_seen),
    ];
    trials
        .map(|trial| needs(trial, there, "no helm: HELM is not set, `make test-chart` does"))
        .into()
}

/// The chart's own profile of that cluster, and the kustomization of the same name.
fn makes_what_the_manifests_have() -> Result<()> {
    for (cluster, count) in [("generic", 5), ("terway", 5), ("calico", 5), ("monitoring", 8)] {
        let values = profile(cluster);
        let values: &[&str] = match cluster {
            "generic" => &[],
            "monitoring" => &[
                "--set=metrics.address=0.0.0.0",
                "--set=metrics.podMonitor=true",
                "--set=metrics.alerts=true",
                "--set=metrics.dashboard=true",
            ],
            _ => &["--values", values.to_str().context("utf-8")?],
        };
        let (chart, kustomization) = (objects(&render(values)?)?, objects(&manifest(cluster)?)?);
        ensure!(
            chart.len() == count && chart == kustomization,
            "{cluster}: {chart:#?}{kustomization:#?}"
        );
    }
    Ok(())
}

fn each_profile_is_valid() -> Result<()> {
    let mut profiles = 0;
    for profile in fs::read_dir(chart().join("profiles"))? {
        let path = profile?.path();
        let values = ["--values", path.to_str().context("utf-8")?];
        helm("lint", &[&["--strict"], &values[..]].concat())?;
        let manifest = render(&values)?;
        for version in VERSIONS {
            validate(&manifest, version)
                .with_context(|| format!("{}, {version}", path.display()))?;
        }
        profiles += 1;
    }
    ensure!(profiles >= 8);
    Ok(())
}

fn what_is_set_arrives() -> Result<()> {
    let digest = format!("sha256:{:064}", 7);
    let set = [
        ["--set", &format!("image.digest={digest}")],
        ["--set", "runtime=cri-o"],
        ["--set", "netDir=/somewhere/net.d"],
        ["--set", "metrics.address=::"],
        ["--set", "metrics.podMonitor=true"],
        ["--set", "metrics.labels.release=monitoring"],
        ["--set", "entry.queueLimit=1048576"],
        ["--set", "nodeSelector.pool=mesh"],
    ];
    let rendered = render(&set.concat())?;
    let objects = objects(&rendered)?;
    let spec = &objects["DaemonSet"]["spec"]["template"]["spec"];
    let (install, watch) = (&spec["initContainers"][0], &spec["containers"][0]);
    for container in [install, watch] {
        ensure!(container["image"] == format!("shunt@{digest}"), "{container}");
        let args = container["args"].to_string();
        ensure!(args.contains(r#""--runtime","cri-o""#), "{args}");
    }
    let last = watch["lifecycle"]["preStop"]["exec"]["command"].to_string();
    ensure!(last.contains("--keep-binary") && last.contains(r#""--runtime","cri-o""#), "{last}");
    ensure!(spec["volumes"].to_string().contains("/somewhere/net.d"), "{spec}");
    ensure!(
        spec["nodeSelector"]["pool"] == "mesh"
            && spec["nodeSelector"]["kubernetes.io/os"] == "linux"
    );
    ensure!(watch["readinessProbe"]["httpGet"]["host"].is_null(), "{watch}");
    ensure!(watch["args"].to_string().contains(r#""--metrics","[::]:9717""#), "{watch}");
    let monitor = &objects["PodMonitor"];
    ensure!(monitor["spec"]["podMetricsEndpoints"][0]["port"] == "metrics");
    ensure!(monitor["metadata"]["labels"]["release"] == "monitoring", "{monitor}");
    ensure!(watch["ports"][0]["name"] == "metrics");
    let entry = objects["ConfigMap"]["data"]["entry.json"]["queueLimit"].as_u64();
    ensure!(entry == Some(1 << 20), "{rendered}");
    Ok(())
}

fn a_misspelt_value_is_seen() -> Result<()> {
    for (set, name) in [
        ("netdir=/x", "netdir"),
        ("runtime=docker", "runtime"),
        ("image.digest=abc", "digest"),
        ("binDir=opt/cni/bin", "binDir"),
        ("metrics.podMonitor=true", "loopback"),
        ("metrics.address=somewhere", "address"),
    ] {
        let told = render(&["--set", set]).err().context("taken")?.to_string();
        ensure!(told.contains(name), "{told}");
    }
    Ok(())
}

pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/chart")
}

fn profile(cluster: &str) -> PathBuf {
    chart().join(format!("profiles/{cluster}.yaml"))
}

fn render(options: &[&str]) -> Result<String> {
    helm("template", &[&["shunt", "--namespace", "kube-system"], options].concat())
}

/// `helm COMMAND OPTION… deploy/chart`.
fn helm(command: &str, options: &[&str]) -> Result<String> {
    let helm = env::var_os("HELM").context("HELM is not set")?;
    let output =
        Command::new(helm).arg(command).args(options).arg(chart()).output().context("helm")?;
    let told = [&output.stdout[..], &output.stderr].concat();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&told));
    Ok(String::from_utf8(output.stdout)?)
}

/// By kind, and by name where it is not shunt's alone. JSON within it is read too.
pub fn objects(manifest: &str) -> Result<BTreeMap<String, Value>> {
    let read = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";
    let mut python = Command::new("python3")
        .args(["-c", read])
        .env("PYTHONPATH", folder_of_tools()?.join("python"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    python.stdin.take().context("stdin")?.write_all(manifest.as_bytes())?;
    let output = python.wait_with_output()?;
    ensure!(output.status.success(), "{manifest}");
    let objects: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let by_kind = objects.into_iter().filter(|object| !object.is_null()).map(|mut object| {
        if let Some(entry) = object.pointer_mut("/data/entry.json") {
            *entry = serde_json::from_str(entry.as_str().context("entry.json")?)?;
        }
        let [kind, name] = [&object["kind"], &object["metadata"]["name"]]
            .map(|it| it.as_str().unwrap_or_default().to_owned());
        Ok((if name == "shunt" { kind } else { format!("{kind} {name}") }, object))
    });
    by_kind.collect()
}
