//! What libcni insists on in a plugin's conf (`types.PluginConf`): a runtime cannot load a list with
//! one key of another type.

use std::collections::HashMap;

use anyhow::{Result, anyhow, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

/// What it writes itself, when it calls a plugin.
const INJECTED: [&str; 5] = ["name", "cniVersion", "cniVersions", "prevResult", "runtimeConfig"];

#[derive(Deserialize)]
#[allow(dead_code, reason = "what they hold is the runtime's affair")]
struct Ipam {
    r#type: Option<String>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "what they hold is the runtime's affair")]
struct Dns {
    nameservers: Option<Vec<String>>,
    domain: Option<String>,
    search: Option<Vec<String>>,
    options: Option<Vec<String>>,
}

/// # Errors
/// A key that libcni sets, or one that it cannot read. It takes keys in any case.
pub fn check(entry: &Map<String, Value>) -> Result<()> {
    for (key, value) in entry {
        let is = |name: &str| key.eq_ignore_ascii_case(name);
        let read = match () {
            () if INJECTED.iter().any(|name| is(name)) || key.starts_with("cni.dev/") => {
                Err(anyhow!("the runtime sets it"))
            }
            () if is("type") && key != "type" => Err(anyhow!("it would replace `type`")),
            () if is("type") => takes::<String>(value),
            () if is("capabilities") => takes::<Option<HashMap<String, Option<bool>>>>(value),
            () if is("ipam") => takes::<Option<Ipam>>(value),
            () if is("dns") => takes::<Option<Dns>>(value),
            () => Ok(()),
        };
        read.map_err(|why| anyhow!("`{key}` is not what a runtime takes: {why:#}"))?;
    }
    ensure!(entry.contains_key("type"), "it has no `type`");
    Ok(())
}

fn takes<T: for<'a> Deserialize<'a>>(value: &Value) -> Result<()> {
    Ok(T::deserialize(value).map(drop)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn is_taken(mut keys: Value) -> bool {
        keys["type"] = json!("shunt");
        check(keys.as_object().unwrap()).is_ok()
    }

    #[test]
    fn keys_of_another_type_are_refused() {
        for keys in [
            json!({"capabilities": "x"}),
            json!({"capabilities": {"cgroupPath": "true"}}),
            json!({"Capabilities": []}),
            json!({"ipam": "x"}),
            json!({"ipam": {"type": 1}}),
            json!({"IPAM": []}),
            json!({"name": 5}),
            json!({"Name": "x"}),
            json!({"cniversion": 1}),
            json!({"prevResult": {}}),
            json!({"dns": []}),
            json!({"dns": {"search": "x"}}),
            json!({"Type": "bridge"}),
            json!({"cni.dev/valid-attachments": 1}),
        ] {
            assert!(!is_taken(keys.clone()), "{keys}");
        }
        for keys in [
            json!({}),
            json!({"capabilities": null, "ipam": {}, "dns": {"nameservers": ["10.0.0.1"]}}),
            json!({"capabilities": {"cgroupPath": true}, "excludedPorts": [1], "args": 5}),
        ] {
            assert!(is_taken(keys.clone()), "{keys}");
        }
    }
}
