//! How long a plugin's verbs take, seen by a runtime.

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};
use std::{fs, path::Path, thread, time::Instant};
use tests::{bare::Bare, cgroup, cni, netns, node::Node, ratio::median};

pub const VERBS: [&str; 3] = ["ADD", "CHECK", "DEL"];
/// Medians in milliseconds, by [`VERBS`].
pub type Times = [f64; VERBS.len()];

/// Somebody who adds and deletes a pod, which has a network namespace of its own.
pub struct Caller(Bare);

impl Caller {
    pub fn some(node: &Node, callers: usize) -> Result<Vec<Self>> {
        (0..callers as u32).map(|number| Self::new(node, 60_000 + number)).collect()
    }

    fn new(node: &Node, number: u32) -> Result<Self> {
        let netns = node.dir.join(format!("caller-{number}"));
        netns::create(&netns)?;
        let mut pod = Bare::new(node, number)?;
        pod.call.netns = netns.display().to_string();
        // `tuning` looks for the interface, and there is this one.
        pod.call.ifname = "lo".into();
        Ok(Self(pod))
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let _ = netns::remove(Path::new(&self.0.call.netns));
    }
}

/// A call of one verb.
type Plugin = fn(&Bare, &str) -> Result<Option<Value>>;

pub fn shunt(pod: &Bare, verb: &str) -> Result<Option<Value>> {
    pod.shunt(verb)
}

/// As meshes and operators use it: a sysctl of the pod's.
pub fn tuning(pod: &Bare, verb: &str) -> Result<Option<Value>> {
    let conf = pod.stdin(&json!({"type": "tuning", "sysctl": {"net.core.somaxconn": "1024"}}));
    cni::answer(&cni::invoke(&cni::find("tuning")?, &pod.call.env(verb), conf.as_bytes())?)
}

/// So often: all callers make one call at once, each of the same verb, as on a node that starts or is drained.
pub fn measure(callers: &[Caller], times: u32, plugin: Plugin) -> Result<Times> {
    let mut took: [Vec<f64>; VERBS.len()] = Default::default();
    for _ in 0..times {
        for Caller(pod) in callers {
            // No pod has another's, and one that comes again is what costs more.
            cgroup::remove(&pod.cgroup)?;
            fs::create_dir(&pod.cgroup)?;
        }
        for (verb, took) in VERBS.iter().zip(&mut took) {
            took.extend(at_once(callers, |pod| plugin(pod, verb).map(drop).context(*verb))?);
        }
    }
    Ok(took.map(|took| median(&took)))
}

/// Milliseconds of each.
fn at_once(callers: &[Caller], call: impl Fn(&Bare) -> Result<()> + Sync) -> Result<Vec<f64>> {
    let timed = |pod| {
        let start = Instant::now();
        call(pod).map(|()| start.elapsed().as_secs_f64() * 1e3)
    };
    thread::scope(|scope| {
        let calls = callers.iter().map(|it| scope.spawn(|| timed(&it.0))).collect::<Vec<_>>();
        calls.into_iter().map(|it| it.join().map_err(|_| anyhow!("panicked"))?).collect()
    })
}
