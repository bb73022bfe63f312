//! Shunt's entry in a list of plugins, as the operator wants it.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};

use crate::{conflist::SHUNT, disk::Disk, libcni, paths::Datapath, world::Files as _};

/// Keys that are not in `--entry`, as options set them.
const BY_OPTION: [&str; 3] = ["type", "pinPath", "lockFile"];

#[derive(Clone, Debug, clap::Args)]
pub struct Entry {
    /// JSON file with all keys for shunt's entry (accelerate, queueLimit, logFile, …). Without it,
    /// an entry that is there keeps its own
    #[arg(long, value_name = "FILE")]
    entry: Option<PathBuf>,
}

/// What is to be in the list, and what becomes of an entry that is there already.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub entry: Value,
    pub beside: Beside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Stays as it is.
    Kept,
    /// Keeps the keys that the wanted one has not.
    Merged,
    Replaced,
}

impl Entry {
    /// # Errors
    /// The file cannot be read, is no JSON object, or has keys that are not its affair or that a
    /// runtime cannot read.
    pub fn value(&self, datapath: &Datapath) -> Result<Wanted> {
        let mut entry = json!({
            "type": SHUNT,
            "capabilities": {
                "cgroupPath": true,
                "io.kubernetes.cri.pod-annotations": true,
                "bandwidth": true,
            },
        });
        if let Some(file) = &self.entry {
            let name = || file.display().to_string();
            let text = Disk.read(file).and_then(|text| text.context("there is no such file"));
            let keys: Map<String, Value> =
                serde_json::from_slice(&text.with_context(name)?).with_context(name)?;
            for (key, value) in keys {
                let own = BY_OPTION.contains(&key.as_str());
                ensure!(!own, "{}: `{key}` is not set there; see --help", file.display());
                entry[key] = value;
            }
            libcni::check(entry.as_object().context("no object")?).with_context(name)?;
        }
        // The default needs no key, and the plugin's own may change.
        for ((key, path), default) in
            datapath.keys()?.into_iter().zip([shim::paths::PINS, shim::paths::LOCK])
        {
            if path != default {
                entry[key] = json!(path);
            }
        }
        let beside = if self.entry.is_some() { Beside::Replaced } else { Beside::Merged };
        Ok(Wanted { entry, beside })
    }
}

impl Wanted {
    /// What the entry becomes where this one is already, and the keys of that one that are changed
    /// or gone.
    pub fn beside(&self, old: Option<&Value>) -> (Value, Vec<String>) {
        let Some(old) = old.and_then(Value::as_object) else {
            return (self.entry.clone(), Vec::new());
        };
        let mut entry = match self.beside {
            Beside::Kept => return (old.clone().into(), Vec::new()),
            Beside::Replaced => self.entry.clone(),
            Beside::Merged => {
                let mut merged = Value::from(old.clone());
                merged.as_object_mut().into_iter().for_each(|it| {
                    it.retain(|key, _| key == "type" || !BY_OPTION.contains(&key.as_str()));
                });
                merged
            }
        };
        if self.beside == Beside::Merged {
            for (key, value) in self.entry.as_object().into_iter().flatten() {
                match (&mut entry[key], value) {
                    (Value::Object(theirs), Value::Object(own)) => {
                        own.iter().for_each(|(key, value)| {
                            theirs.entry(key).or_insert_with(|| value.clone());
                        });
                    }
                    (theirs, own) => *theirs = own.clone(),
                }
            }
        }
        let lost = old.iter().filter(|(key, value)| {
            let is_default = ["capabilities", "type"].contains(&key.as_str());
            !is_default && entry.get(*key) != Some(*value)
        });
        let lost = lost.map(|(key, value)| format!("{key}: {value}")).collect();
        (entry, lost)
    }
}
