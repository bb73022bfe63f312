//! The manifests and the chart, against the API server's own schemas: each is applied there, as a dry run.

use crate::{
    chart::{self, helm},
    cluster::{Cluster, release::Release, variable},
    manifest::Manifest,
};
use anyhow::{Context as _, Result, ensure};
use std::{fs, path::Path};

const MONITORING: [&str; 4] = [
    "--set=metrics.address=0.0.0.0",
    "--set=metrics.podMonitor=true",
    "--set=metrics.alerts=true",
    "--set=metrics.dashboard=true",
];

pub fn test(cluster: &Cluster) -> Result<()> {
    let _absent = Manifest::new(cluster)?;
    // Kubernetes 1.20 takes none of today's CRDs of the operator, whose defaults are null.
    let has_operator = Release::chosen()? != Release::V1_20;
    let operator = variable("K8S").join("operator/crds");
    let operator = operator.to_str().context("path")?;
    if has_operator {
        cluster.kubectl(&["create", "-f", operator])?;
        cluster.kubectl(&["wait", "--for=condition=Established", "-f", operator])?;
    }
    let can_be = |name: &str| has_operator || name != "monitoring";

    let folder = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name);
    let all = [("generic", 5), ("terway", 5), ("calico", 5), ("monitoring", 8)];
    for (name, objects) in all.into_iter().filter(|(name, _)| can_be(name)) {
        let manifest = folder(name);
        let told = cluster.kubectl(&["kustomize", manifest.to_str().context("path")?]);
        told.and_then(|manifest| is_taken(cluster, &manifest, objects))
            .with_context(|| name.to_owned())?;
    }

    let rendered =
        |values: &[&str]| helm(cluster, &[&["template", "shunt", "CHART"], values].concat());
    is_taken(cluster, &rendered(&[])?, 5)?;
    if has_operator {
        is_taken(cluster, &rendered(&MONITORING)?, 8)?;
    }
    for profile in fs::read_dir(chart::folder().join("profiles"))? {
        let profile = profile?.path();
        let profile = profile.to_str().context("path")?;
        let manifest = rendered(&["--values", profile])?;
        is_taken(cluster, &manifest, 5).with_context(|| profile.to_owned())?;
    }

    let wrong = [("generic", ("hostPID:", "hostPid:")), ("monitoring", ("expr:", "expression:"))];
    for (of, wrong) in wrong.into_iter().filter(|(of, _)| can_be(of)) {
        let manifest = cluster.kubectl(&["kustomize", folder(of).to_str().context("path")?])?;
        let manifest = manifest.replace(wrong.0, wrong.1);
        let told = is_taken(cluster, &manifest, 0).err().context("taken")?.to_string();
        ensure!(told.contains(wrong.1.trim_end_matches(':')), "{told}");
    }
    if has_operator {
        cluster.kubectl(&["delete", "-f", operator])?;
    }
    Ok(())
}

/// All that many objects.
fn is_taken(cluster: &Cluster, manifest: &str, objects: usize) -> Result<()> {
    let manifest = cluster.keep("manifest.yaml", manifest)?;
    let told = cluster.kubectl(&["apply", "--dry-run=server", "-f", &manifest])?;
    let taken = told.lines().filter(|line| line.ends_with("created (server dry run)")).count();
    ensure!(taken == objects, "{objects} objects are not {told}");
    Ok(())
}
