//! Whatever comes in, a runtime gets an answer that it can read.

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::iter::{repeat_n, repeat_with};
use tests::{cni, node::Node};

use super::trials;
use crate::scale::scaled;

const VERBS: [&str; 6] = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"];
/// What a runtime sets, and which verbs cannot do without it (CNI 1.1.0, "CNI operations").
const VARIABLES: [(&str, &str, &[&str]); 6] = [
    ("CNI_COMMAND", "", &[]),
    ("CNI_CONTAINERID", "container", &["ADD", "DEL", "CHECK"]),
    ("CNI_NETNS", "/proc/self/ns/net", &["ADD", "CHECK"]),
    ("CNI_IFNAME", "eth0", &["ADD", "DEL", "CHECK"]),
    ("CNI_ARGS", "K8S_POD_NAMESPACE=default", &[]),
    ("CNI_PATH", "/opt/cni/bin", &["GC"]),
];

pub fn tests() -> Vec<Trial> {
    trials(
        "verbs::malformed",
        &[
            ("input", input),
            ("environment", environment),
            ("valid_but_for_some_bytes", valid_but_for_some_bytes),
        ],
    )
}

type Env = Vec<(&'static str, &'static str)>;

fn env(verb: &'static str) -> Env {
    let value = |name, value| if name == "CNI_COMMAND" { verb } else { value };
    VARIABLES.iter().map(|(name, v, _)| (*name, value(*name, *v))).collect()
}

/// Runs shunt and gives what it says, if that is as the specification has it: the code of an error
/// object and exit status 1, or none and exit status 0.
fn code(env: &Env, stdin: &[u8]) -> Result<Option<u64>> {
    let output = cni::invoke(&cni::shunt()?, env, stdin)?;
    let (stdout, stderr) =
        (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
    let input = String::from_utf8_lossy(&stdin[..stdin.len().min(200)]);
    let about = || format!("{env:?} <<< {input}: {} {stdout} {stderr}", output.status);
    ensure!(!stderr.contains("panicked"), "{}", about());
    if output.status.success() {
        return Ok(None);
    }
    ensure!(output.status.code() == Some(1), "{}", about());
    let error: Value = serde_json::from_str(&stdout).with_context(about)?;
    ensure!(error["cniVersion"].is_string() && error["msg"].is_string(), "{}", about());
    Ok(Some(error["code"].as_u64().with_context(about)?))
}

/// A configuration that every verb takes.
fn valid(node: &Node) -> Value {
    json!({
        "cniVersion": "1.1.0", "name": "n", "type": "shunt", "pinPath": node.dir, "lockFile": node.lock,
        "cni.dev/valid-attachments": [],
        "prevResult": {"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.5/32"}]},
        "runtimeConfig": {"cgroupPath": "/nowhere", "io.kubernetes.cri.pod-annotations": {"a": "b"}},
    })
}

fn nested(levels: usize) -> Vec<u8> {
    let json =
        r#"{"cniVersion":"1.1.0","name":"n","cni.dev/valid-attachments":[],"prevResult":{"x":"#;
    let (open, close) = ("[".repeat(levels), "]".repeat(levels));
    format!("{json}{open}{close}}}}}").into_bytes()
}

/// Every verb with every variable missing in turn, or none, and stdin that is no configuration.
fn input() -> Result<()> {
    let mut random = Rng::with_seed(1);
    let mut inputs: Vec<Vec<u8>> = vec![
        b"".into(),
        b"{}".into(),
        b"null".into(),
        b"[]".into(),
        b"{\"name\":\"n\"}".into(),
        b"{\"name\":\"\xff\"}".into(),
        b"\xef\xbb\xbf{}".into(),
        nested(200),
        nested(1_000_000),
        b"[".repeat(1_000_000),
        b"{\"a\":".repeat(500_000),
        // 10 MB.
        format!(r#"{{"cniVersion":"1.1.0","name":"n","x":"{}"}}"#, "x".repeat(10_000_000)).into(),
        format!("[{}0]", "0,".repeat(5_000_000)).into(),
    ];
    inputs.extend((0..5).map(|n| repeat_with(|| random.u8(..)).take(10 << n).collect()));
    for verb in VERBS {
        let mut envs = vec![env(verb)];
        envs.extend((0..VARIABLES.len()).map(|missing| {
            let mut env = env(verb);
            env.remove(missing);
            env
        }));
        for (env, stdin) in envs.iter().flat_map(|env| inputs.iter().map(move |i| (env, i))) {
            // VERSION reads no configuration; without a verb shunt tells what it is.
            let answers = verb == "VERSION" || env[0].0 != "CNI_COMMAND";
            let code = code(env, stdin)?;
            ensure!(code.is_none() == answers, "{env:?}: {code:?}");
        }
    }
    Ok(())
}

/// Every variable that a verb needs missing, empty, or nonsense, with a good configuration.
fn environment() -> Result<()> {
    let node = Node::new("environment")?;
    let stdin = valid(&node).to_string().into_bytes();
    for verb in VERBS {
        ensure!(code(&env(verb), &stdin)?.is_none(), "{verb}");
        for (index, (name, _, required)) in VARIABLES.iter().enumerate().skip(1) {
            let mut missing = env(verb);
            missing.remove(index);
            let mut empty = env(verb);
            empty[index].1 = "";
            for env in [missing, empty] {
                let expected = required.contains(&verb).then_some(4);
                let code = code(&env, &stdin)?;
                ensure!(code == expected, "{verb} without {name}: {code:?}");
            }
        }
    }
    for (name, value) in [
        ("CNI_CONTAINERID", "../x"),
        ("CNI_CONTAINERID", "-x"),
        ("CNI_IFNAME", "sixteen-bytes-xx"),
        ("CNI_IFNAME", ".."),
        ("CNI_IFNAME", "a b"),
        ("CNI_IFNAME", "a/b"),
        ("CNI_COMMAND", "add"),
        ("CNI_COMMAND", "ADD "),
    ] {
        let mut env = env("ADD");
        env.retain(|(other, _)| *other != name);
        env.push((name, value));
        let code = code(&env, &stdin)?;
        ensure!(code == Some(4), "{name}={value:?}: {code:?}");
    }
    Ok(())
}

fn valid_but_for_some_bytes() -> Result<()> {
    let node = Node::new("bytes")?;
    let valid = valid(&node).to_string().into_bytes();
    let mut random = Rng::with_seed(2);
    for verb in VERBS {
        for _ in 0..scaled(100) {
            let mut stdin = valid.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..=stdin.len());
                let end = random.usize(at..=stdin.len()).min(at + 20);
                stdin.splice(at..end, repeat_n(random.u8(..), random.usize(..2)));
            }
            code(&env(verb), &stdin)?;
        }
    }
    Ok(())
}
