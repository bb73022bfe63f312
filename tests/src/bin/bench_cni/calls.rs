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

/// All callers at once, each so often.
pub fn measure(callers: &[Caller], times: u32, plugin: Plugin) -> Result<Times> {
    let work = |caller: &Caller| -> Result<Vec<Times>> {
        (0..times)
            .map(|_| {
                // No pod has another's, and one that comes again is what costs more.
                cgroup::remove(&caller.0.cgroup)?;
                fs::create_dir(&caller.0.cgroup)?;
                let mut took = Times::default();
                for (verb, took) in VERBS.iter().zip(&mut took) {
                    let start = Instant::now();
                    plugin(&caller.0, verb).context(*verb)?;
                    *took = start.elapsed().as_secs_f64() * 1e3;
                }
                Ok(took)
            })
            .collect()
    };
    let took = thread::scope(|scope| {
        let callers: Vec<_> = callers.iter().map(|it| scope.spawn(move || work(it))).collect();
        let took = callers.into_iter().map(|it| it.join().map_err(|_| anyhow!("panicked"))?);
        took.collect::<Result<Vec<_>>>()
    })?
    .concat();
    Ok(std::array::from_fn(|verb| median(&took.iter().map(|it| it[verb]).collect::<Vec<_>>())))
}
