//! Shunt's entry in a list of plugins, as the operator wants it.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};

use crate::{conflist::SHUNT, paths::Datapath};

#[derive(Clone, Debug, clap::Args)]
pub struct Entry {
    /// JSON file with keys for shunt's entry (accelerate, queueLimit, logFile, …)
    #[arg(long, value_name = "FILE")]
    entry: Option<PathBuf>,
}

impl Entry {
    /// # Errors
    /// The file cannot be read, is no JSON object, or has keys that are not its affair.
    pub fn value(&self, datapath: &Datapath) -> Result<Value> {
        let mut entry = json!({
            "type": SHUNT,
            "capabilities": {
                "cgroupPath": true,
                "io.kubernetes.cri.pod-annotations": true,
                "bandwidth": true,
            },
        });
        if let Some(file) = &self.entry {
            let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
            let keys: Map<String, Value> =
                serde_json::from_str(&text).with_context(|| file.display().to_string())?;
            for (key, value) in keys {
                let own = ["type", "pinPath", "lockFile"].contains(&key.as_str());
                ensure!(!own, "{}: `{key}` is not set there; see --help", file.display());
                entry[key] = value;
            }
        }
        // The default needs no key, and the plugin's own may change.
        for (key, path, default) in [
            ("pinPath", &datapath.pin_path, shim::paths::PINS),
            ("lockFile", &datapath.lock_file, shim::paths::LOCK),
        ] {
            if path.as_os_str() != default {
                entry[key] = json!(path);
            }
        }
        Ok(entry)
    }
}
