//! shunt's manifest, as an operator applies and deletes it.

use crate::cluster::Cluster;
use anyhow::Result;
use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
};

pub const NAMESPACE: &str = "kube-system";

pub struct Manifest<'a> {
    cluster: &'a Cluster,
    path: String,
}

impl<'a> Manifest<'a> {
    /// It is not applied, whatever was there before.
    pub fn new(cluster: &'a Cluster) -> Result<Self> {
        Self::changed(cluster, str::to_owned)
    }

    /// Another, made of it.
    pub fn changed(cluster: &'a Cluster, change: impl FnOnce(&str) -> String) -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/generic/shunt.yaml");
        let changed = change(&fs::read_to_string(path)?);
        let manifest = Self { cluster, path: cluster.keep("shunt.yaml", &changed)? };
        manifest.delete()?;
        Ok(manifest)
    }

    /// kubectl, in its namespace.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.cluster.kubectl(&[&["--namespace", NAMESPACE], args].concat())
    }

    /// Until the node's pod is ready.
    pub fn apply(&self) -> Result<()> {
        self.cluster.kubectl(&["apply", "-f", &self.path])?;
        self.is_ready()
    }

    pub fn is_ready(&self) -> Result<()> {
        self.kubectl(&["rollout", "status", "ds/shunt", "--timeout=120s"]).map(drop)
    }

    /// Until the node's pod is gone.
    pub fn delete(&self) -> Result<()> {
        self.cluster.kubectl(&["delete", "-f", &self.path, "--ignore-not-found"])?;
        self.has_no_pods()
    }

    pub fn has_no_pods(&self) -> Result<()> {
        self.cluster.has_no_pods_in(NAMESPACE)
    }

    /// Its objects only: the pod stays.
    pub fn delete_without_pods(&self) -> Result<()> {
        self.cluster.kubectl(&["delete", "-f", &self.path, "--cascade=orphan"]).map(drop)
    }

    pub fn begin(&self, command: &str) -> Result<Child> {
        let mut kubectl = self.cluster.command(&[command, "-f", &self.path]);
        Ok(kubectl.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
    }
}
