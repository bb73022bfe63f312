//! Tells the cluster, once for each pod of shunt's, that its node cannot accelerate: by an Event of the
//! Node, which goes after an hour, and by what the container ends with, which stays as long as the pod.

use std::{env, fs::OpenOptions, io::Write as _, time::SystemTime};

use anyhow::{Context as _, Result, ensure};
use humantime::{format_rfc3339_micros, format_rfc3339_seconds};
use serde_json::{Value, json};

use crate::{claim::POD, cluster::Cluster};

/// In a pod, its node's name: the manifest sets it.
const NODE: &str = "SHUNT_NODE";
/// Where a kubelet reads what a container says of its end (`terminationMessagePath`).
const LAST_WORDS: &str = "/dev/termination-log";
/// An event's message may have 1 KiB.
const MOST: usize = 1000;

/// Nothing is done where this is no pod.
pub fn tell(why: &str) {
    let Ok(node) = env::var(NODE) else { return };
    // What follows is what the verifier wrote.
    let why: String = why.lines().next().unwrap_or_default().chars().take(MOST).collect();
    for error in [leave(&why).err(), post(&node, &why).err()].into_iter().flatten() {
        log::warn!("the cluster is not told that this node cannot accelerate: {error:#}");
    }
}

fn leave(why: &str) -> Result<()> {
    let opened = OpenOptions::new().write(true).truncate(true).open(LAST_WORDS);
    opened.and_then(|mut file| file.write_all(why.as_bytes())).context(LAST_WORDS)
}

fn post(node: &str, why: &str) -> Result<()> {
    let pod = env::var(POD).context(POD)?;
    let cluster = Cluster::of_this_pod()?;
    let path = format!("/api/v1/namespaces/{}/events", cluster.namespace);
    let mut answer = cluster.post(&path, &event(&cluster.namespace, node, &pod, why))?;
    // It was told before this container was started again.
    let is_told = matches!(answer.status, 201 | 409);
    let said = answer.object().map_or_else(|_| String::new(), |it| it["message"].to_string());
    ensure!(is_told, "{path}: HTTP status {} {said}", answer.status);
    Ok(())
}

/// In kube-system an Event of what has no namespace needs all that newer Events have.
fn event(namespace: &str, node: &str, pod: &str, why: &str) -> Value {
    let now = SystemTime::now();
    let seconds = format_rfc3339_seconds(now).to_string();
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": format!("shunt.{pod}"), "namespace": namespace},
        // kubectl describe looks for the events of a node with its name as uid, as a kubelet writes them.
        "involvedObject": {"apiVersion": "v1", "kind": "Node", "name": node, "uid": node},
        "type": "Warning",
        "reason": "CannotAccelerate",
        "message": format!("pods stay plain TCP: {why}"),
        "action": "Install",
        "count": 1,
        "eventTime": format_rfc3339_micros(now).to_string(),
        "firstTimestamp": seconds,
        "lastTimestamp": seconds,
        "reportingComponent": "shunt",
        "reportingInstance": pod,
        "source": {"component": "shunt", "host": node},
    })
}
