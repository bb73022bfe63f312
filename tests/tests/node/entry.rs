//! What is in the entry: kept or told, and taken by every runtime.

use super::{is_run_by_libcni, named};
use crate::install::host::Host;
use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use shim::layout::Watch;
use std::fs;

pub fn tests() -> Vec<Trial> {
    vec![
        named("keys_kept", keys_kept),
        named("entry_checked", entry_checked),
        named("keys_of_the_node_count_from_the_first_load", keys_of_the_node),
    ]
}

fn entry(host: &Host) -> Result<Value> {
    let plugins = host.chain()?.plugins;
    let mut own = plugins.into_iter().filter(|plugin| plugin["type"] == "shunt");
    let entry = own.next().context("no entry")?;
    ensure!(own.next().is_none(), "two entries");
    Ok(entry)
}

fn keys_kept() -> Result<()> {
    let host = Host::new("keys")?;
    let mut list: Value = serde_json::from_str(&host.primary(0))?;
    let own = json!({"type": "shunt", "excludedPorts": [80, 443], "logLevel": "warn"});
    list["plugins"].as_array_mut().context("plugins")?.push(own);
    fs::write(host.list(), list.to_string())?;
    ensure!(host.install(&[])?.code == 0);
    let kept = entry(&host)?;
    ensure!(kept["excludedPorts"] == json!([80, 443]) && kept["logLevel"] == "warn", "{kept}");
    ensure!(kept["pinPath"] == json!(host.node.pins), "{kept}");
    is_run_by_libcni(&host)?;

    let file = host.node.dir.join("entry.json");
    fs::write(&file, json!({"queueLimit": 1 << 20, "excludedPorts": [80]}).to_string())?;
    let option = format!("--entry={}", file.display());
    let told = host.install(&[&option])?;
    ensure!(told.code == 0 && entry(&host)?["queueLimit"] == 1 << 20, "{told:?}");
    ensure!(entry(&host)?["logLevel"].is_null());
    let lost = told.json["lost_keys"].to_string();
    ensure!(lost.contains("logLevel") && lost.contains("443"), "{told:?}");
    let again = host.install(&[])?;
    ensure!(
        again.json["changed"] == json!([]) && again.json["lost_keys"] == json!([]),
        "{again:?}"
    );
    ensure!(entry(&host)?["queueLimit"] == 1 << 20);
    // What was there and no plugin takes is refused, and not made one's own.
    let text = fs::read_to_string(host.list())?;
    fs::write(host.list(), text.replace("1048576", "\"much\""))?;
    let refused = host.install(&[])?;
    let error = refused.json["error"].as_str().context("no error")?;
    ensure!(refused.code == 1 && error.contains("queueLimit"), "{refused:?}");
    ensure!(host.uninstall()?.code == 0);
    Ok(())
}

fn entry_checked() -> Result<()> {
    let host = Host::new("checked")?;
    host.write_primary()?;
    let file = host.node.dir.join("entry.json");
    let option = format!("--entry={}", file.display());
    for keys in [
        json!({"capabilities": "x"}),
        json!({"capabilities": {"cgroupPath": "yes"}}),
        json!({"Capabilities": []}),
        json!({"ipam": "x"}),
        json!({"ipam": {"type": 5}}),
        json!({"name": 5}),
        json!({"NAME": "other"}),
        json!({"dns": []}),
        json!({"Dns": {"nameservers": "10.0.0.1"}}),
        json!({"cniVersion": 1}),
        json!({"prevResult": "x"}),
        json!({"Type": "bridge"}),
        json!({"runtimeConfig": 1}),
        json!({"capabilitieſ": 5}),
        json!({"cniVerſion": "0.3.0"}),
        json!({"prevRe\u{17f}ult": {}}),
        json!({"plugins": []}),
        json!({"plugins": [{"type": "shunt"}]}),
        json!({"delegates": 5}),
        json!([]),
    ] {
        fs::write(&file, keys.to_string())?;
        for command in ["install", "watch"] {
            let refused = host.shuntctl(command, &[&option])?;
            ensure!(refused.code == 1, "{keys}: {refused:?}");
            let error = refused.json["error"].as_str().context("no error")?;
            ensure!(error.contains("entry.json"), "{keys}: {error}");
        }
        ensure!(fs::read_to_string(host.list())? == host.primary(0), "{keys}");
    }
    let keys =
        json!({"capabilities": null, "ipam": {}, "dns": {"nameservers": []}, "args": {"x": 1}});
    fs::write(&file, keys.to_string())?;
    ensure!(host.install(&[&option])?.code == 0);
    is_run_by_libcni(&host)?;
    ensure!(host.uninstall()?.code == 0);
    Ok(())
}

/// Whether the list has the entry already, or gets it by this install, before there are any pins.
fn keys_of_the_node() -> Result<()> {
    let host = Host::new("of-node")?;
    let file = host.node.dir.join("entry.json");
    let option = format!("--entry={}", file.display());
    let keys = json!({"mode": "observe", "watch": "syscalls"});
    let mut by_hand: Value = serde_json::from_str(&host.primary(0))?;
    let mut own = keys.clone();
    own["type"] = "shunt".into();
    by_hand["plugins"].as_array_mut().context("plugins")?.push(own);
    let plain = host.primary(0);
    for (list, keys, options, is_wanted) in [
        (&plain, &keys, &[&*option][..], true),
        (&by_hand.to_string(), &keys, &[], true),
        (&by_hand.to_string(), &json!({}), &[&*option], false),
    ] {
        fs::write(host.list(), list)?;
        fs::write(&file, keys.to_string())?;
        let installed = host.install(options)?;
        ensure!(installed.code == 0 && !installed.json["cannot_accelerate"].is_string());
        let datapath = host.node.datapath()?;
        let by_syscalls = datapath.node()?.watch == Watch::Syscalls as u64;
        let found = (datapath.is_observing()?, by_syscalls);
        ensure!(found == (is_wanted, is_wanted), "{list} {options:?}: {found:?}");
        ensure!(host.uninstall()?.code == 0);
    }
    Ok(())
}
