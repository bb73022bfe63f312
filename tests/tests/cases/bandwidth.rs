//! A pod with a bandwidth limit, set by the plugin that Kubernetes' annotations are for.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Map, json};
use std::{
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};
use tests::{
    node::Node,
    pod::{Pod, PodSpec},
    traffic::{Mode::NonBlocking, Stream, converse},
    trial,
};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("cases::bandwidth::by_capability", || {
            compare(|spec| {
                // What an entry says that wants to be told.
                let capabilities = json!({"cgroupPath": true, "bandwidth": true});
                spec.conf.insert("capabilities".into(), capabilities);
            })
        }),
        trial("cases::bandwidth::by_annotation", || {
            compare(|spec| {
                spec.annotations.insert("kubernetes.io/ingress-bandwidth".into(), "10M".into());
            })
        }),
    ]
}

/// Bits a second, and bits.
const RATE: u64 = 10_000_000;
const BURST: u64 = 32 * 1024 * 8;

const TIME: Duration = Duration::from_secs(5);
/// Bytes.
const ANSWER: usize = 64 << 10;

/// No more gets through than the limit lets through.
fn compare(known_by: fn(&mut PodSpec)) -> Result<()> {
    let node = Node::new("bandwidth")?;
    let pod = |shunt, limit| -> Result<Pod> {
        let mut spec = PodSpec::new("a");
        spec.shunt = shunt;
        if limit {
            known_by(&mut spec);
            let mut chain = node.chain(shunt, &spec.cni_version, &spec.conf);
            let plugin = json!({"type": "bandwidth", "capabilities": {"bandwidth": true}});
            chain.plugins.insert(1, plugin);
            spec.chain = Some(chain);
            let limit = json!({"ingressRate": RATE, "ingressBurst": BURST});
            spec.runtime_config = Map::from_iter([("bandwidth".to_owned(), limit)]);
        }
        node.pod_with(spec)
    };
    let through = |shunt| through(&pod(shunt, false)?, &pod(shunt, true)?);
    let plain = through(false).context("by plain TCP")?;
    let attached = through(true).context("between attached pods")?;
    // The last may have begun before and ended after.
    let most = (RATE * TIME.as_secs() + BURST) / 8 / ANSWER as u64 + 1;
    ensure!(
        plain > 0 && plain <= most && attached <= most,
        "{plain} answers by plain TCP, {attached} between attached pods, {most} are allowed"
    );
    Ok(())
}

/// Answers that come in some seconds to a client with a limit.
fn through(server: &Pod, client: &Pod) -> Result<u64> {
    let (ask, back) = (vec![0; 16 << 10], vec![0; ANSWER]);
    let serve = |mut stream: Stream| {
        let mut asked = ask.clone();
        // To the client's end.
        while stream.read_exact(&mut asked).is_ok() {
            stream.write_all(&back)?;
        }
        Ok(())
    };
    let drive = |mut stream: Stream| {
        let (begin, mut answers, mut answer) = (Instant::now(), 0, back.clone());
        while begin.elapsed() < TIME {
            stream.write_all(&ask)?;
            stream.read_exact(&mut answer)?;
            answers += 1;
        }
        Ok(answers)
    };
    Ok(converse((server, client), server.ipv4.into(), NonBlocking, serve, drive)?.1)
}
