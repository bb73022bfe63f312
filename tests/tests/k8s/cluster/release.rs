//! What differs between the releases of Kubernetes that shunt is tried on.

use super::{CONTAINERD, variable};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::{env, path::PathBuf};

/// Each with the containerd of its time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The oldest that shunt is for. It and containerd 1.6 are what Debian 12 has.
    V1_20,
    /// With containerd 2.2.
    V1_36,
}

impl Release {
    /// # Errors
    /// None is chosen.
    pub fn chosen() -> Result<Self> {
        let chosen = env::var("KUBERNETES").unwrap_or_default();
        let is_it = |release: &Self| release.name() == chosen;
        let found = [Self::V1_20, Self::V1_36].into_iter().find(is_it);
        found.with_context(|| format!("KUBERNETES is {chosen:?}: make test-k8s sets it"))
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::V1_20 => "1.20",
            Self::V1_36 => "1.36",
        }
    }

    /// What `scripts/setup k8s` has put there.
    pub fn usr(self) -> PathBuf {
        variable("K8S").join(self.name()).join("root/usr")
    }

    pub fn kubectl(self) -> PathBuf {
        let usr = match self {
            Self::V1_20 => variable("DEPLOY").join("root/usr"),
            Self::V1_36 => self.usr(),
        };
        usr.join("bin/kubectl")
    }

    pub fn kubelet_flags(self) -> Vec<String> {
        match self {
            Self::V1_20 => vec![
                "--container-runtime=remote".into(),
                format!("--container-runtime-endpoint=unix://{CONTAINERD}"),
            ],
            Self::V1_36 => Vec::new(),
        }
    }

    /// Adds what has no flag any more.
    pub fn complete(self, kubelet: &mut Value) {
        if self == Self::V1_36 {
            kubelet["containerRuntimeEndpoint"] = json!(format!("unix://{CONTAINERD}"));
            // Where hierarchies of version 1 are, it would not start.
            kubelet["failCgroupV1"] = json!(false);
        }
    }
}
