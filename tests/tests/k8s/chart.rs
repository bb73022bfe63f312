//! The chart, as an operator installs, upgrades and uninstalls it by Helm while pods talk.

use crate::{
    cluster::{Cluster, said, variable},
    is_as, links,
    manifest::{Manifest, NAMESPACE},
    mesh::Mesh,
    node, short,
};
use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};

pub fn test(cluster: &Cluster) -> Result<()> {
    // It makes the same objects.
    let manifest = Manifest::new(cluster)?;
    let before = node()?;
    let mut mesh = Mesh::new(cluster)?;

    helm(cluster, &["install", "shunt", "CHART"])?;
    manifest.is_ready()?;
    mesh.scale(2)?;
    let [adopted, added] = mesh.pods()?.try_into().ok().context("two pods")?;
    let talk = mesh.talk(&added, &adopted)?;
    let goes_on = |told: &str| {
        let (a, b) = (short(&adopted)?, short(&added)?);
        talk.goes_on_until(
            || Ok(short(&adopted)? > a + (1 << 20) && short(&added)? > b + (1 << 20)),
        )
        .with_context(|| told.to_owned())
    };
    goes_on("installed")?;

    // A new version, here the same by another name; another value; and back to the first of all.
    let links = self::links()?;
    let pod = || manifest.kubectl(&["get", "pods", "--output=name"]);
    for change in [
        &["upgrade", "shunt", "CHART", "--set=image.tag=new"][..],
        &["upgrade", "shunt", "CHART", "--reuse-values", "--set=metrics.port=9718"],
        &["rollback", "shunt", "1"],
    ] {
        let old = pod()?;
        helm(cluster, change)?;
        manifest.is_ready()?;
        ensure!(pod()? != old, "{change:?}: no pod is new");
        ensure!(self::links()? == links, "{change:?}: links have changed");
        goes_on(change[0])?;
    }

    helm(cluster, &["uninstall", "shunt"])?;
    manifest.has_no_pods()?;
    is_as(&before)?;
    talk.end()?;
    mesh.scale(3)?;
    cluster.has_not_failed()?;
    mesh.end()
}

/// helm, in shunt's namespace; CHART is the chart's folder.
pub fn helm(cluster: &Cluster, args: &[&str]) -> Result<String> {
    let mut helm = cluster.client(variable("HELM"));
    helm.args(["--namespace", NAMESPACE]);
    let chart = folder();
    let args =
        args.iter().map(|arg| if *arg == "CHART" { chart.as_os_str() } else { arg.as_ref() });
    said(helm.args(args))
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/chart")
}
