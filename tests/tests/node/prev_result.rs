//! What other plugins pass on, shunt passes on.

use super::named;
use crate::install::host::Host;
use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::fs;
use tests::cni;

pub fn tests() -> Vec<Trial> {
    vec![named("prevresult_odd", prevresult_odd)]
}

fn prevresult_odd() -> Result<()> {
    let host = Host::new("odd")?;
    host.write_primary()?;
    ensure!(host.install(&[])?.code == 0);
    let pod = host.pod("pod", host.chain()?)?;
    let good = pod.result["ips"][0].clone();
    let changed = |key: &str, value: Value| {
        let mut ip = good.clone();
        ip[key] = value;
        ip
    };
    let mut without = good.clone();
    without.as_object_mut().into_iter().for_each(|ip| drop(ip.remove("address")));
    for (what, odd, passes_elsewhere) in [
        ("interface: -1", changed("interface", json!(-1)), true),
        ("interface: 1.0", changed("interface", json!(1.0)), false),
        ("interface: 99", changed("interface", json!(99)), true),
        ("no address", without, false),
        ("address: x", changed("address", json!("x")), false),
        ("no object", json!(5), false),
    ] {
        let mut conf = host.chain()?.plugins[1].clone();
        conf["name"] = json!(host.node.name);
        conf["cniVersion"] = json!("1.0.0");
        conf["logFile"] = json!(host.node.log());
        conf["runtimeConfig"] = json!(pod.call.runtime_config);
        conf["prevResult"] = pod.result.clone();
        conf["prevResult"]["ips"] = json!([odd, good]);
        // The reference plugins, for comparison.
        let mut portmap = conf.clone();
        portmap["type"] = json!("portmap");
        let output = cni::invoke(
            &cni::find("portmap")?,
            &pod.call.env("ADD"),
            portmap.to_string().as_bytes(),
        )?;
        ensure!(output.status.success() || !passes_elsewhere, "{what}: portmap refuses it");
        fs::write(host.node.log(), "")?;
        let output =
            cni::invoke(&cni::shunt()?, &pod.call.env("ADD"), conf.to_string().as_bytes())?;
        let result: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(output.status.success() && result == conf["prevResult"], "{what}: {result}");
        let log = fs::read_to_string(host.node.log())?;
        ensure!(log.contains("prevResult"), "{what}: no warning: {log}");
        host.node.counters(&pod)?;
    }
    drop(pod);
    ensure!(host.uninstall()?.code == 0);
    Ok(())
}
