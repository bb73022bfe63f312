//! What `watch` tells Prometheus (text format 0.0.4) and a kubelet's probes.

mod samples;

use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use shim::{datapath, lock::Lock};

use crate::{
    http::{self, Answer},
    paths::Datapath,
};
use samples::{Sample, help, of_node, of_pods};

/// How long Prometheus waits for those who add and delete pods.
const BUSY: Duration = Duration::from_millis(50);

/// What the loop knows.
#[derive(Default)]
pub struct State {
    /// Why shunt is not where it should be.
    pub trouble: Option<String>,
    pub put_back: u64,
    pub restored: u64,
}

pub type Shared = Arc<Mutex<State>>;

pub fn with<T>(state: &Shared, act: impl FnOnce(&mut State) -> T) -> T {
    act(&mut state.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The whole page. What the datapath cannot tell is left out.
fn page(state: &Shared, paths: &Datapath) -> String {
    let mut samples = with(state, |state| {
        vec![
            ("shunt_installed", "", u64::from(state.trouble.is_none())),
            ("shunt_entry_put_back_total", "", state.put_back),
            ("shunt_binary_restored_total", "", state.restored),
        ]
    });
    match of_datapath(paths) {
        Ok(of_datapath) => samples.extend(of_datapath),
        Err(error) => log::warn!("metrics lack what is counted: {error:#}"),
    }
    text(&samples)
}

/// Nothing where nothing is loaded.
fn of_datapath(paths: &Datapath) -> Result<Vec<Sample>> {
    let Some(datapath) = datapath::Datapath::open(&paths.pin_path)? else { return Ok(Vec::new()) };
    // A pod that goes meanwhile would be counted twice, or not at all.
    let lock = Lock::take(&paths.lock_file, BUSY)?;
    let (node, pods) = (datapath.node()?, datapath.pods()?);
    drop(lock);
    let mut samples = of_node(&node);
    samples.push(("shunt_pods", "", pods.len() as u64));
    let mut counters = node.gone;
    pods.iter().for_each(|(_, pod)| counters += pod.counters);
    samples.extend(of_pods(&counters));
    let sockets = datapath.connections()?.cookies()?;
    samples.push(("shunt_sockets", "", sockets.len() as u64));
    Ok(samples)
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
pub fn start(address: SocketAddr, state: Shared, paths: Datapath) -> Result<()> {
    http::start(address, move |path| match path {
        "/metrics" => Answer::ok("text/plain; version=0.0.4", page(&state, &paths)),
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
