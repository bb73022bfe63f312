//! Keys of the conflist, annotations, and the examples in conf/.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Map, Value, json};
use shim::layout::Policy;
use std::{
    fs,
    path::{Path, PathBuf},
};
use tests::{
    cni::{Chain, expect_failure},
    node::Node,
    pod::PodSpec,
};

use super::{conf, is_accelerated, shunt, trials};

const ACCELERATE: &str = "shunt/accelerate";

pub fn tests() -> Vec<Trial> {
    trials(
        "verbs::configuration",
        &[
            ("annotations", annotations),
            ("excluded_namespace", excluded_namespace),
            ("node_proxies", node_proxies),
            ("policy", policy),
            ("wrong_types_are_named", wrong_types_are_named),
            ("unknown_keys_warn", unknown_keys_warn),
            ("examples_are_accepted", examples_are_accepted),
            ("examples_run", examples_run),
        ],
    )
}

fn keys(keys: Value) -> Map<String, Value> {
    keys.as_object().cloned().unwrap_or_default()
}

fn annotations() -> Result<()> {
    let node = Node::new("annotations")?;
    // Makes sure that there are pins.
    let _first = node.pod("first")?;
    for (default, annotation, accelerated) in [
        ("on", None, true),
        ("on", Some("off"), false),
        ("on", Some("on"), true),
        ("off", None, false),
        ("off", Some("on"), true),
        ("on", Some("perhaps"), true),
        ("off", Some("perhaps"), false),
    ] {
        let mut spec = PodSpec::new("a");
        spec.conf = keys(json!({"accelerate": default}));
        if let Some(value) = annotation {
            spec = spec.annotate(ACCELERATE, value);
        }
        let pod = node.pod_with(spec)?;
        let is = is_accelerated(&node, &pod)?;
        ensure!(is == accelerated, "conf {default}, annotation {annotation:?}: {is}");
        pod.chain.check(&pod.call, &pod.result)?;
    }
    let log = fs::read_to_string(node.log())?;
    ensure!(log.matches("\"perhaps\"").count() == 2, "{log}");
    Ok(())
}

fn excluded_namespace() -> Result<()> {
    let node = Node::new("namespaces")?;
    for (namespace, accelerated) in [("default", true), ("kube-system", false), ("kube", true)] {
        let mut spec = PodSpec::new("a");
        spec.namespace = namespace.into();
        spec.conf = keys(json!({"excludedNamespaces": ["other", "kube-system"]}));
        let pod = node.pod_with(spec)?;
        ensure!(is_accelerated(&node, &pod)? == accelerated, "{namespace}");
        pod.chain.check(&pod.call, &pod.result)?;
    }
    Ok(())
}

/// A mesh's proxy of the node takes part where its namespace does not.
fn node_proxies() -> Result<()> {
    let node = Node::new("proxies")?;
    let _first = node.pod("first")?;
    for (name, accelerated) in [("ztunnel-x7k2p", true), ("coredns-x7k2p", false)] {
        let mut spec = PodSpec::new(name);
        spec.namespace = "kube-system".into();
        spec.conf = keys(json!({
            "excludedNamespaces": ["kube-system"], "nodeProxies": ["kube-system/ztunnel"],
        }));
        let pod = node.pod_with(spec)?;
        ensure!(is_accelerated(&node, &pod)? == accelerated, "{name}");
        pod.chain.check(&pod.call, &pod.result)?;
    }
    Ok(())
}

fn policy() -> Result<()> {
    let node = Node::new("policy")?;
    let pod = node.pod("defaults")?;
    let policy = node.datapath()?.pod(pod.id()?)?.context("no entry")?.policy;
    ensure!(
        policy.queue_limit == 8 << 20 && policy.heartbeat == 10 && policy.excluded_ports == [0; 16],
        "{policy:?}"
    );
    ensure!(policy.mode == Policy::AS_NODE && policy.blocking == 0, "{policy:?}");

    let mut spec = PodSpec::new("set").annotate("shunt/mode", "observe");
    spec.conf = keys(json!({
        "blocking": "on", "queueLimit": 8, "excludedPorts": [65535, 1],
    }));
    let pod = node.pod_with(spec)?;
    let policy = node.datapath()?.pod(pod.id()?)?.context("no entry")?.policy;
    ensure!(policy.mode == Policy::OBSERVE && policy.blocking == 1, "{policy:?}");
    ensure!(policy.queue_limit == 8, "{policy:?}");
    ensure!(policy.excluded_ports[..3] == [65535, 1, 0], "{policy:?}");
    Ok(())
}

fn wrong_types_are_named() -> Result<()> {
    let node = Node::new("types")?;
    let pod = node.pod("a")?;
    let right = conf(&pod)?;
    for (key, wrong) in [
        ("accelerate", json!([true, "yes", 1, {}])),
        ("mode", json!([1, "on", {}])),
        ("blocking", json!([true, "yes"])),
        ("watch", json!([1, "all"])),
        ("trustedPrograms", json!(["envoy", [1], [""], ["sixteen bytes is"]])),
        ("pollingPrograms", json!(["envoy", [""]])),
        ("mptcp", json!([false, "off"])),
        ("queueLimit", json!([0, -1, "2M", 4294967296_i64])),
        ("excludedNamespaces", json!(["a", [1], {}])),
        ("excludedPorts", json!([80, [0], [65536], ["80"], vec![1; 17]])),
        (
            "serviceCIDRs",
            json!([
                "10.96.0.0/12",
                ["10.96.0.0/33"],
                ["10.96.0.1/12"],
                ["0.0.0.0/0"],
                vec!["fd00::/112"; 5]
            ]),
        ),
        ("nodeProxies", json!(["kube-system/ztunnel", ["ztunnel"], [5]])),
        ("logFile", json!([1, "relative", []])),
        ("logLevel", json!([1, "loud"])),
        ("pinPath", json!([1, "relative"])),
        ("cgroupRoot", json!([1, "relative"])),
        ("lockFile", json!([1, ""])),
        ("runtimeConfig", json!([1, "x", {"cgroupPath": 1}])),
        ("prevResult", json!([1, "x", []])),
        ("cniVersion", json!([1])),
        ("name", json!([1, "", "a/b"])),
    ] {
        for value in wrong.as_array().into_iter().flatten() {
            let mut conf = right.clone();
            conf[key] = value.clone();
            for verb in ["ADD", "CHECK"] {
                let failure = expect_failure(shunt(verb, &pod.call, &conf), 7)
                    .with_context(|| format!("{verb} with {key}: {value}"))?;
                ensure!(failure.msg.contains(key), "{key}: {value}: {failure}");
            }
            // Whoever spoils a conflist can still delete pods.
            if !["cniVersion", "name", "pinPath", "lockFile"].contains(&key) {
                shunt("DEL", &pod.call, &conf)?;
                ensure!(!is_accelerated(&node, &pod)?, "{key}: {value}");
                shunt("ADD", &pod.call, &right)?;
            }
        }
    }
    Ok(())
}

fn unknown_keys_warn() -> Result<()> {
    let node = Node::new("unknown")?;
    let mut spec = PodSpec::new("a");
    spec.conf = keys(json!({"queuelimit": 5, "proxyPorts": {"inbound": 1}, "proxyUid": null}));
    let pod = node.pod_with(spec)?;
    ensure!(is_accelerated(&node, &pod)?);
    let log = fs::read_to_string(node.log())?;
    for key in ["queuelimit", "proxyPorts"] {
        let warned = |line: &str| line.contains("WARN") && line.contains(&format!("`{key}`"));
        ensure!(log.lines().any(warned), "{key}: {log}");
    }
    ensure!(log.matches("unknown key").count() == 1, "{log}");
    Ok(())
}

/// The conflists of conf/.
fn examples() -> Result<Vec<(PathBuf, Chain)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf");
    let files = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let conflists = files.into_iter().filter(|path| path.extension() == Some("conflist".as_ref()));
    let read = |path: PathBuf| {
        let chain = Chain::parse(&fs::read_to_string(&path)?)?;
        Ok((path, chain))
    };
    conflists.map(read).collect()
}

fn examples_are_accepted() -> Result<()> {
    let node = Node::new("accepted")?;
    let pod = node.pod("a")?;
    let examples = examples()?;
    ensure!(examples.len() == 5);
    for (path, chain) in examples {
        let last = chain.plugins.last().context("no plugins")?;
        ensure!(last["type"] == "shunt", "{}", path.display());
        let mut last = last.clone();
        last["pinPath"] = json!(node.pins);
        last["lockFile"] = json!(node.lock);
        last["logFile"] = json!(node.log());
        let conf = chain.conf(&last, &pod.call, Some(&pod.result));
        shunt("DEL", &pod.call, &conf)?;
        shunt("ADD", &pod.call, &conf)?;
        ensure!(is_accelerated(&node, &pod)?, "{}", path.display());
    }
    let log = fs::read_to_string(node.log())?;
    ensure!(!log.contains("WARN"), "{log}");
    Ok(())
}

/// Those whose plugins a machine has without a cluster, as they are.
fn examples_run() -> Result<()> {
    let node = Node::new("examples")?;
    for (path, mut chain) in examples()? {
        if !["bridge", "ptp"].map(Value::from).contains(&chain.plugins[0]["type"]) {
            continue;
        }
        chain.plugins[0]["ipam"]["dataDir"] = json!(node.dir.join("ipam"));
        if let Some(shunt) = chain.plugins.last_mut() {
            shunt["pinPath"] = json!(node.pins);
            shunt["lockFile"] = json!(node.lock);
        }
        let pod = node.outside("a")?;
        let mut call = pod.call.clone();
        call.ifname = "net1".into();
        let result = chain.add(&call).with_context(|| path.display().to_string())?;
        ensure!(is_accelerated(&node, &pod)?, "{}", path.display());
        ensure!(node.datapath()?.pod_ips()?.len() == 2, "{result}");
        chain.check(&call, &result)?;
        chain.del(&call, Some(&result))?;
        ensure!(!is_accelerated(&node, &pod)?, "{}", path.display());
    }
    Ok(())
}
