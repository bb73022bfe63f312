//! Lists that pods were made with. podman and CRI-O delete a pod, and make it anew, by its own, whatever the folder
//! says by then: libcni keeps it for them (`GetNetworkListCachedConfig`), beside what all runtimes have it keep.

use std::{fs, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;

use crate::conflist;

/// libcni's own, below its `CacheDir`.
const RESULTS: &str = "results";

/// Bytes. A list has a few thousand.
const MOST: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cached {
    container_id: String,
    /// As base64.
    config: String,
    #[serde(default)]
    cni_args: Vec<(String, String)>,
}

impl Cached {
    /// What podman calls a pod. It tells plugins nothing else of it, where all others name its namespace too.
    fn podmans(&self) -> Option<&str> {
        let arg = |name| self.cni_args.iter().find(|(key, _)| key == name);
        if arg("K8S_POD_NAMESPACE").is_some() {
            return None;
        }
        arg("K8S_POD_NAME").map(|(_, name)| name.as_str())
    }

    fn names_shunt(&self) -> bool {
        let list =
            BASE64_STANDARD.decode(&self.config).ok().and_then(|it| String::from_utf8(it).ok());
        list.is_some_and(|list| conflist::names_shunt(&list).unwrap_or(false))
    }
}

/// Pods that still need the plugin. `all`: also those that podman has not made, as CRI-O made them.
pub fn pods(cache: &Path, all: bool) -> Vec<String> {
    let files = fs::read_dir(cache.join(RESULTS)).into_iter().flatten().flatten();
    // Others' may be anything: a fifo would be waited for.
    let files =
        files.filter(|file| file.metadata().is_ok_and(|it| it.is_file() && it.len() < MOST));
    let cached = files.filter_map(|file| {
        let cached: Cached = serde_json::from_slice(&fs::read(file.path()).ok()?).ok()?;
        let name = match cached.podmans() {
            Some(name) => name.to_owned(),
            None if all => cached.container_id.clone(),
            None => return None,
        };
        cached.names_shunt().then_some(name)
    });
    let mut pods: Vec<_> = cached.collect();
    pods.sort();
    pods.dedup();
    pods
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cached(list: &str, args: &[(&str, &str)]) -> String {
        let config = BASE64_STANDARD.encode(list);
        json!({"kind": "cniCacheV1", "containerId": "0b3b", "config": config, "cniArgs": args})
            .to_string()
    }

    #[test]
    fn podmans_and_no_others_need_the_plugin() -> anyhow::Result<()> {
        let cache = tempfile::tempdir()?;
        let results = cache.path().join(RESULTS);
        fs::create_dir(&results)?;
        let with = r#"{"plugins": [{"type": "bridge"}, {"type": "shunt"}]}"#;
        let podmans = [("IgnoreUnknown", "1"), ("K8S_POD_NAME", "web")];
        let containerds = [("K8S_POD_NAMESPACE", "default"), ("K8S_POD_NAME", "other")];
        fs::write(results.join("a"), cached(with, &podmans))?;
        fs::write(results.join("b"), cached(r#"{"plugins": [{"type": "bridge"}]}"#, &podmans))?;
        fs::write(results.join("c"), cached(with, &containerds))?;
        fs::write(results.join("d"), cached(with, &[]))?;
        fs::write(results.join("e"), "{")?;
        assert_eq!(pods(cache.path(), false), ["web"]);
        assert_eq!(pods(cache.path(), true), ["0b3b", "web"]);
        assert!(pods(&cache.path().join("nowhere"), true).is_empty());
        Ok(())
    }
}
