//! Lists that pods were made with. podman and CRI-O delete a pod, and make it anew, by its own, whatever the folder
//! says by then: libcni keeps it for them (`GetNetworkListCachedConfig`), beside what all runtimes have it keep.

use std::{
    fs,
    io::ErrorKind::{NotADirectory, NotFound},
    path::Path,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use crate::conflist::{self, SHUNT};

/// libcni's own, below its `CacheDir`.
const RESULTS: &str = "results";
/// Bytes. A list has a few thousand.
const MOST: u64 = 1 << 20;

/// Pods that still need the plugin, and files of which that cannot be known. `all`: also those that podman has not
/// made, as CRI-O made them.
pub fn pods(cache: &Path, all: bool) -> Vec<String> {
    let results = cache.join(RESULTS);
    let files = match fs::read_dir(&results) {
        Ok(files) => files.flatten(),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => return Vec::new(),
        Err(_) => return vec![results.display().to_string()],
    };
    let mut pods: Vec<_> = files.filter_map(|file| pod(&file.path(), all)).collect();
    pods.sort();
    pods.dedup();
    pods
}

fn pod(file: &Path, all: bool) -> Option<String> {
    let unknown = || Some(file.display().to_string());
    let bytes = match fs::metadata(file) {
        Err(error) if error.kind() == NotFound => return None,
        // A fifo would be waited for.
        Ok(it) if !it.is_file() => return None,
        Ok(it) if it.len() <= MOST => fs::read(file),
        _ => return unknown(),
    };
    let cached = match bytes.map(|bytes| serde_json::from_slice::<Value>(&bytes)) {
        Err(error) if error.kind() == NotFound => return None,
        Ok(Ok(cached)) => cached,
        _ => return unknown(),
    };
    let podmans = podmans(&cached["cniArgs"]);
    if podmans.is_none() && !all {
        return None;
    }
    match names_shunt(&cached["config"]) {
        None => unknown(),
        Some(false) => None,
        Some(true) => podmans.or(cached["containerId"].as_str()).map(Into::into).or_else(unknown),
    }
}

/// What podman calls a pod. It tells plugins nothing else of it, or before version 4 the same as its namespace.
fn podmans(args: &Value) -> Option<&str> {
    let arg = |name| {
        let arg = args.as_array()?.iter().find(|arg| arg[0] == name)?;
        Some(arg[1].as_str().unwrap_or("?"))
    };
    let name = arg("K8S_POD_NAME")?;
    arg("K8S_POD_NAMESPACE").is_none_or(|namespace| namespace == name).then_some(name)
}

/// None: it cannot be read.
fn names_shunt(config: &Value) -> Option<bool> {
    let config: String = config.as_str()?.split_ascii_whitespace().collect();
    let list = BASE64_STANDARD.decode(config).ok()?;
    let list = String::from_utf8_lossy(&list);
    Some(conflist::names_shunt(&list).unwrap_or_else(|_| list.contains(SHUNT)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn podmans_and_no_others_need_the_plugin() -> anyhow::Result<()> {
        let cache = tempfile::tempdir()?;
        let results = cache.path().join(RESULTS);
        fs::create_dir(&results)?;
        let write = |file: &str, list: &str, args: Value| {
            let config = BASE64_STANDARD.encode(list);
            let (first, rest) = config.split_at(9);
            let config = format!("{first}\n{rest}");
            let cached = json!({"containerId": "0b3b", "config": config, "cniArgs": args});
            fs::write(results.join(file), cached.to_string())
        };
        let with = r#"{"plugins": [{"type": "bridge"}, {"type": "shunt"}]}"#;
        let podmans = json!([["IgnoreUnknown", 1], null, ["K8S_POD_NAME", "web"]]);
        write("a", with, podmans.clone())?;
        write("b", r#"{"plugins": [{"type": "bridge"}]}"#, podmans)?;
        write("c", with, json!([["K8S_POD_NAMESPACE", "default"], ["K8S_POD_NAME", "other"]]))?;
        write("d", with, Value::Null)?;
        write("e", with, json!([["K8S_POD_NAMESPACE", "old"], ["K8S_POD_NAME", "old"]]))?;
        nix::unistd::mkfifo(&results.join("f"), nix::sys::stat::Mode::S_IRWXU)?;
        assert_eq!(pods(cache.path(), false), ["old", "web"]);
        assert_eq!(pods(cache.path(), true), ["0b3b", "old", "web"]);
        assert!(pods(&cache.path().join("nowhere"), true).is_empty());
        fs::write(results.join("g"), "{")?;
        let unknown = results.join("g").display().to_string();
        assert!(pods(cache.path(), false).contains(&unknown));
        Ok(())
    }
}
