//! What `watch` tells Prometheus (text format 0.0.4) and a kubelet's probes, by HTTP.

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::{sleep, spawn},
    time::Duration,
};

use anyhow::Result;
use shim::{
    datapath::Datapath,
    layout::{
        Counters, Late, Node, NotAccelerated, NotPaired, PodId, Reasons, ToTcp, Traffic, Watch,
    },
};

/// How often to look whether the address is free.
const RETRY: Duration = Duration::from_millis(500);

/// Counters as Prometheus sees them: name, label, value.
type Sample = (&'static str, &'static str, u64);

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

/// A sample for each field of a structure, with the field's name as the reason. It names all of
/// them, so that none is forgotten.
macro_rules! by_reason {
    ($samples:ident, $name:literal, $value:expr, $structure:ident { $($field:ident),+ }) => {
        let $structure { $($field),+ } = $value;
        $samples.extend([$(($name, stringify!($field), $field)),+]);
    };
}

fn of_pod(counters: &Counters) -> Vec<Sample> {
    let Counters {
        paired,
        not_paired,
        shunted,
        by_tcp,
        to_shunt,
        to_tcp,
        late,
        refused_options,
        plain,
        plain_bytes,
        foretold_bytes,
    } = *counters;
    let traffic = |name: [&'static str; 2], Traffic { messages, bytes }: Traffic| {
        [(name[0], "", messages), (name[1], "", bytes)]
    };
    let mut samples = vec![("shunt_paired_total", "", paired)];
    by_reason!(
        samples,
        "shunt_not_paired_total",
        not_paired,
        NotPaired {
            remote,
            no_peer,
            unproven,
            unanswered,
            excluded_port,
            draining,
            overruled,
            busy,
            full,
            refused
        }
    );
    samples.extend(traffic(["shunt_shunted_messages_total", "shunt_shunted_bytes_total"], shunted));
    samples.extend(traffic(["shunt_by_tcp_messages_total", "shunt_by_tcp_bytes_total"], by_tcp));
    samples.push(("shunt_to_shunt_total", "", to_shunt));
    by_reason!(
        samples,
        "shunt_to_tcp_total",
        to_tcp,
        ToTcp {
            queue_full,
            overruled,
            heartbeat,
            rcvlowat,
            blocking,
            distrusted,
            untried,
            oob,
            bypassed,
            closing,
            draining,
            bulk
        }
    );
    for (name, reasons) in
        [("shunt_plain_connections_total", plain), ("shunt_plain_bytes_total", plain_bytes)]
    {
        let Reasons {
            learning,
            sleeps,
            splices,
            counts_unread,
            waits_for_all,
            zerocopy,
            batches,
            listener,
            peer,
            observed,
            left,
            refused,
            ..
        } = reasons;
        samples.extend([
            (name, "learning", learning),
            (name, "sleeps", sleeps),
            (name, "splices", splices),
            (name, "counts_unread", counts_unread),
            (name, "waits_for_all", waits_for_all),
            (name, "zerocopy", zerocopy),
            (name, "batches", batches),
            (name, "listener", listener),
            (name, "peer", peer),
            (name, "observed", observed),
            (name, "left", left),
            (name, "refused", refused),
        ]);
    }
    samples.push(("shunt_foretold_bytes_total", "", foretold_bytes));
    by_reason!(samples, "shunt_late_signs_total", late, Late { splice, fionread, waitall });
    samples.push(("shunt_refused_options_total", "", refused_options));
    samples
}

fn of_node(node: &Node) -> Vec<Sample> {
    let Node { accelerated, not_accelerated, watch, .. } = *node;
    let mut samples = vec![("shunt_pods_accelerated_total", "", accelerated)];
    by_reason!(
        samples,
        "shunt_pods_not_accelerated_total",
        not_accelerated,
        NotAccelerated { no_cgroup, foreign_program, full, refused }
    );
    samples.push(("shunt_watched", "", u64::from(watch != Watch::Names as u64)));
    samples
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
    let (mut page, mut of) = (String::new(), "");
    for (name, reason, value) in samples {
        if name != of {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            let _ = writeln!(page, "# TYPE {name} {kind}");
            of = name;
        }
        let _ = match reason {
            "" => writeln!(page, "{name} {value}"),
            reason => writeln!(page, "{name}{{reason=\"{reason}\"}} {value}"),
        };
    }
    page
}

/// Answers until the process ends, one at a time: whoever is slow is cut off.
pub fn serve(listener: &TcpListener, state: &Shared, pins: &Path) {
    for stream in listener.incoming().flatten() {
        if let Err(error) = answer(stream, state, pins) {
            log::debug!("HTTP: {error:#}");
        }
    }
}

fn answer(mut stream: TcpStream, state: &Shared, pins: &Path) -> Result<()> {
    let patience = Some(Duration::from_secs(2));
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(patience)?;
    let (mut request, mut len) = ([0; 4096], 0);
    while len < request.len() && !request[..len].windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut request[len..])? {
            0 => break,
            read => len += read,
        }
    }
    let request = String::from_utf8_lossy(&request[..len]);
    let (status, kind, body) = match request.split(' ').take(2).collect::<Vec<_>>()[..] {
        ["GET", "/metrics"] => ("200 OK", "; version=0.0.4", page(state, pins)),
        ["GET", "/healthz"] => match with(state, |state| state.trouble.clone()) {
            None => ("200 OK", "", "ok\n".to_owned()),
            Some(trouble) => ("503 Service Unavailable", "", trouble + "\n"),
        },
        ["GET", _] => ("404 Not Found", "", "/metrics and /healthz\n".to_owned()),
        _ => ("400 Bad Request", "", "only GET\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain{kind}; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    Ok(stream.write_all((head + &body).as_bytes())?)
}

/// Begins to serve. Where somebody does already, as a `watch` that is about to end, once that is gone.
///
/// # Errors
/// The address cannot be had.
pub fn start(address: SocketAddr, state: Shared, pins: PathBuf) -> Result<()> {
    let bound = match TcpListener::bind(address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            log::warn!("{address} is in use; metrics wait until it is free");
            None
        }
        bound => Some(bound?),
    };
    spawn(move || {
        let listener = bound.unwrap_or_else(|| once_free(address));
        log::info!("metrics on http://{}/metrics", listener.local_addr().unwrap_or(address));
        serve(&listener, &state, &pins);
    });
    Ok(())
}

fn once_free(address: SocketAddr) -> TcpListener {
    loop {
        sleep(RETRY);
        if let Ok(listener) = TcpListener::bind(address) {
            return listener;
        }
    }
}
