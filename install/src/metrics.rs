//! What `watch` tells Prometheus (text format 0.0.4) and a kubelet's probes.

mod samples;

use std::{
    collections::HashMap,
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use shim::{
    datapath::Datapath,
    layout::{Counters, PodId},
};

use crate::http::{self, Answer};
use samples::{Sample, help, of_node, of_pod};

/// What the loop knows.
#[derive(Default)]
pub struct State {
    /// Why shunt is not where it should be.
    pub trouble: Option<String>,
    pub put_back: u64,
    pub restored: u64,
    totals: Totals,
}

pub type Shared = Arc<Mutex<State>>;

pub fn with<T>(state: &Shared, act: impl FnOnce(&mut State) -> T) -> T {
    act(&mut state.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Sums over all pods that ever were: a sum over those that are would fall when one goes.
#[derive(Default)]
struct Totals {
    gone: HashMap<(&'static str, &'static str), u64>,
    last: HashMap<PodId, Counters>,
}

impl State {
    /// To be called before pods are forgotten.
    pub fn observe(&mut self, datapath: &Datapath) -> Result<()> {
        let now: HashMap<_, _> =
            datapath.pods()?.into_iter().map(|(id, pod)| (id, pod.counters)).collect();
        for (_, counters) in self.totals.last.iter().filter(|(id, _)| !now.contains_key(id)) {
            for (name, label, value) in of_pod(counters) {
                *self.totals.gone.entry((name, label)).or_default() += value;
            }
        }
        self.totals.last = now;
        Ok(())
    }

    fn totals(&self) -> Vec<Sample> {
        let mut totals = of_pod(&Counters::default());
        for (name, label, total) in &mut totals {
            *total = self.totals.gone.get(&(name, label)).copied().unwrap_or(0);
        }
        for counters in self.totals.last.values() {
            for (total, (_, _, value)) in totals.iter_mut().zip(of_pod(counters)) {
                total.2 += value;
            }
        }
        totals
    }
}

/// The whole page. What the datapath cannot tell is left out.
fn page(state: &Shared, pins: &Path) -> String {
    let mut samples = Vec::new();
    with(state, |state| {
        samples.push(("shunt_installed", "", u64::from(state.trouble.is_none())));
        samples.push(("shunt_entry_put_back_total", "", state.put_back));
        samples.push(("shunt_binary_restored_total", "", state.restored));
        let Ok(Some(datapath)) = Datapath::open(pins) else { return };
        if let Ok(node) = datapath.node() {
            samples.extend(of_node(&node));
        }
        if state.observe(&datapath).is_ok() {
            samples.push(("shunt_pods", "", state.totals.last.len() as u64));
            samples.extend(state.totals());
        }
        if let Ok(sockets) = datapath.connections().and_then(|connections| connections.cookies()) {
            samples.push(("shunt_sockets", "", sockets.len() as u64));
        }
    });
    text(&samples)
}

/// Samples of one family follow each other.
fn text(samples: &[Sample]) -> String {
    let mut page = format!(
        "# HELP shunt_build_info The version of shunt that watches.\n\
         # TYPE shunt_build_info gauge\nshunt_build_info{{version=\"{}\"}} 1\n",
        env!("CARGO_PKG_VERSION")
    );
    let mut of = "";
    for &(name, reason, value) in samples {
        if name != of {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            let _ = writeln!(page, "# HELP {name} {}\n# TYPE {name} {kind}", help(name));
            of = name;
        }
        let _ = match reason {
            "" => writeln!(page, "{name} {value}"),
            reason => writeln!(page, "{name}{{reason=\"{reason}\"}} {value}"),
        };
    }
    page
}

/// Begins to serve. Where somebody does already, as a `watch` that is about to end, once that is gone.
///
/// # Errors
/// The address cannot be had.
pub fn start(address: SocketAddr, state: Shared, pins: PathBuf) -> Result<()> {
    http::start(address, move |path| match path {
        "/metrics" => Answer::ok("text/plain; version=0.0.4", page(&state, &pins)),
        "/healthz" => match with(&state, |state| state.trouble.clone()) {
            None => Answer::ok(
                "text/plain",
                "ok
"
                .into(),
            ),
            Some(trouble) => Answer::new(
                "503 Service Unavailable",
                trouble
                    + "
",
            ),
        },
        _ => Answer::new(
            "404 Not Found",
            "/metrics and /healthz
"
            .into(),
        ),
    })
}
