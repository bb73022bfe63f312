//! A list of CNI 1.1.0, whose plugins a runtime asks whether they are ready.

use crate::{containerd::Containerd, pod::Pod};
use anyhow::{Result, ensure};
use serde_json::json;
use std::fs;

pub fn is_asked(containerd: &Containerd) -> Result<()> {
    let host = &containerd.host;
    host.write_list("1.1.0", &[])?;
    // Every call warns of a key that shunt does not know.
    let keys = json!({"logFile": "/srv/shunt.log", "noSuchKey": 1});
    fs::write(host.root.path("/srv/keys.json"), keys.to_string())?;
    host.shuntctl("shuntctl install --entry /srv/keys.json")?;
    let pod = Pod::new(containerd, "pod", &[])?;
    ensure!(pod.is_accelerated()?, "not accelerated");

    let status = containerd.cri.call("Status", json!({}))?;
    let ready = json!({"type": "NetworkReady", "status": true});
    let conditions = status["status"]["conditions"].as_array();
    ensure!(conditions.is_some_and(|all| all.contains(&ready)), "{status}");
    let log = fs::read_to_string(host.root.path("/srv/shunt.log"))?;
    ensure!(log.contains("STATUS "), "was not asked: {log}");
    pod.delete()?;
    host.has_no_pods()
}
