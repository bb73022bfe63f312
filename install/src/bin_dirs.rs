//! Where runtimes look for plugins, for whoever has not said it rightly.

use std::path::Path;

use crate::world::Files;

/// By docs/nodes.md.
pub const KNOWN: [&str; 7] = [
    "/opt/cni/bin",
    "/usr/lib/cni",
    "/usr/libexec/cni",
    "/home/kubernetes/bin",
    "/var/lib/cni/bin",
    "/var/lib/rancher/k3s/data/cni",
    "/var/snap/microk8s/current/opt/cni/bin",
];

/// What to do where a plugin is not in the folder that was given.
pub fn advice(files: &impl Files, plugin: &str) -> String {
    match KNOWN.iter().find(|dir| files.has(&Path::new(dir).join(plugin))) {
        Some(dir) => format!("`{plugin}` is in {dir}: give --bin-dir {dir}"),
        None => "--bin-dir says where the runtime looks for plugins".into(),
    }
}
