//! What libcni insists on in a list (`conf.go`) and in a plugin's conf (`types.PluginConf`): a runtime
//! cannot load a list with one key of another type.

use std::collections::HashMap;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    conflist::{self, Conf, SHUNT},
    keys::{folded, is_same},
};

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

#[derive(Deserialize)]
#[allow(dead_code, reason = "what they hold is the runtime's affair")]
struct Attachment {
    containerid: Option<String>,
    ifname: Option<String>,
}

/// Whether a runtime can load what is in a file: as a list from a `.conflist`, as one plugin from others.
///
/// # Errors
/// It cannot.
pub fn loads(text: &str, is_list: bool) -> Result<()> {
    let conf = conflist::value(text)?;
    let conf = conf.as_object().context("it is no JSON object")?;
    if !is_list {
        return plugin(conf);
    }
    ensure!(conf.get("name").is_some_and(Value::is_string), "it has no name");
    let plugins = conf.get("plugins").and_then(Value::as_array);
    ensure!(plugins.is_none_or(|all| !all.is_empty()), "its `plugins` are none");
    for (key, value) in conf {
        let read = match key.as_str() {
            "cniVersion" => takes::<String>(value),
            "cniVersions" => takes::<Vec<String>>(value),
            "disableCheck" | "disableGC" | "loadOnlyInlinedPlugins" => switch(value),
            "plugins" => takes::<Vec<Value>>(value),
            _ => Ok(()),
        };
        read.map_err(|why| refused(key, &why))?;
    }
    for (at, conf) in plugins.into_iter().flatten().enumerate() {
        let conf = conf.as_object().context("it is no JSON object");
        conf.and_then(plugin).with_context(|| format!("its plugin {at}"))?;
    }
    Ok(())
}

fn plugin(conf: &Map<String, Value>) -> Result<()> {
    for (key, value) in conf {
        let is = |name: &str| is_same(key, name);
        let read = match () {
            () if is("cniVersion") || is("name") => takes::<Option<String>>(value),
            () if is("cniVersions") => takes::<Option<Vec<String>>>(value),
            () if is("capabilities") => takes::<Option<HashMap<String, Option<bool>>>>(value),
            () if is("prevResult") => takes::<Option<Map<String, Value>>>(value),
            () if is("ipam") => holds::<Ipam>(value),
            () if is("dns") => holds::<Dns>(value),
            () if is("cni.dev/valid-attachments") => {
                takes::<Option<Vec<Value>>>(value).and_then(|()| {
                    value.as_array().into_iter().flatten().try_for_each(holds::<Attachment>)
                })
            }
            () => Ok(()),
        };
        read.map_err(|why| refused(key, &why))?;
    }
    let mut kinds = conf.iter().filter(|(key, _)| is_same(key, "type"));
    let (_, kind) = kinds.next().context("it has no `type`")?;
    ensure!(kind.as_str().is_some_and(|kind| !kind.is_empty()), "its `type` is no plugin's name");
    if let Some((key, _)) = kinds.next() {
        bail!("it has `{key}` twice, as keys are taken in any case: one would replace the other");
    }
    Ok(())
}

/// Shunt's own entry.
///
/// # Errors
/// A key that libcni sets, or one that it cannot read, or by which shunt would not know its own entry.
/// libcni takes keys in any case.
pub fn check(entry: &Map<String, Value>) -> Result<()> {
    for (key, value) in entry {
        let is = |name: &&str| is_same(key, name);
        if INJECTED.iter().any(is) || folded(key).starts_with("cni.dev/") {
            return Err(refused(key, &anyhow!("the runtime sets it")));
        }
        if is(&"type") && key != "type" {
            return Err(refused(key, &anyhow!("it would replace `type`")));
        }
        let alone = json!({ "type": SHUNT, key: value }).to_string();
        let is_known = conflist::is_shunt(&alone) && Conf::parse(&alone).is_ok();
        if !is_known {
            return Err(refused(
                key,
                &anyhow!("no plugin has it, and `uninstall` would not know it"),
            ));
        }
    }
    plugin(entry)
}

fn refused(key: &str, why: &anyhow::Error) -> anyhow::Error {
    anyhow!("`{key}` is not what a runtime takes: {why:#}")
}

fn switch(value: &Value) -> Result<()> {
    let text = value.as_str().unwrap_or_default();
    let is = value.is_boolean() || ["true", "false"].iter().any(|it| text.eq_ignore_ascii_case(it));
    ensure!(is, "it is neither true nor false");
    Ok(())
}

/// The keys of an object, each as Go finds it.
fn holds<T: for<'a> Deserialize<'a>>(value: &Value) -> Result<()> {
    let Some(members) = value.as_object() else { return takes::<Option<T>>(value) };
    members.iter().try_for_each(|(key, value)| takes::<T>(&json!({ folded(key): value })))
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
            json!({"ipam": {"Type": 1}}),
            json!({"dnſ": {"Search": "x"}}),
            json!({"capabilitieſ": 5}),
            json!({"prevRe\u{17f}ult": {}}),
            json!({"cniVerſion": "1.0.0"}),
            json!({"CNI.dev/valid-attachments": []}),
            json!({"plugins": []}),
            json!({"delegates": 5}),
            json!({"clusterNetwork": 5}),
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

    #[test]
    fn what_a_runtime_cannot_load_is_told() {
        let list =
            |plugin: &str| format!(r#"{{"cniVersion":"1.0.0","name":"n","plugins":[{plugin}]}}"#);
        for (text, loads) in [
            (list(r#"{"type":"a"}"#), true),
            (list(r#"{"Type":"a","capabilities":{"x":true},"ipam":{}}"#), true),
            (list(r#"{"type":"a"}"#).replace(r#""name":"n","#, ""), false),
            (list(r#"{"type":"a"}"#).replace("1.0.0\"", "1.0.0\",\"disableCheck\":1"), false),
            (list(r#"{"type":"a"}"#).replace("\"1.0.0\"", "1"), false),
            (list("{}"), false),
            (list("null"), false),
            (list("\"a\""), false),
            (list(r#"{"type":""}"#), false),
            (list(r#"{"type":"a","Type":"shunt"}"#), false),
            (list(r#"{"type":"a","capabilities":["x"]}"#), false),
            (list(r#"{"type":"a","dns":{"search":"x"}}"#), false),
            (list(r#"{"type":"a","ipam":"x"}"#), false),
            (list(r#"{"type":"a","prevResult":"x"}"#), false),
            (list(r#"{"type":"a","prevResult":true}"#), false),
            (list(r#"{"type":"a","prevResult":{"x":1}}"#), true),
            (list(r#"{"type":"a","cni.dev/valid-attachments":[5]}"#), false),
            (list(r#"{"type":"a","cni.dev/valid-attachments":[{"ifName":5}]}"#), false),
            (list(""), false),
        ] {
            assert_eq!(super::loads(&text, true).is_ok(), loads, "{text}");
        }
        assert!(super::loads(&list(r#"{"type":"a"}"#), false).is_err(), "a list is no plugin");
        assert!(super::loads(r#"{"cniVersion":"1.0.0","name":"n","type":"a"}"#, false).is_ok());
    }
}
