//! What a pod wants: whether it is accelerated, and how.

use shim::{datapath::Wants, habits::Named, layout::Policy};

use crate::conf::{Bandwidth, Conf, Mptcp, ProgramName, RuntimeConfig, Switch};
use crate::env::Call;

const ACCELERATE: &str = "shunt/accelerate";
const BLOCKING: &str = "shunt/blocking";
const MODE: &str = "shunt/mode";
/// Istio's injector writes it into every pod that it gives a sidecar.
const SIDECAR: &str = "sidecar.istio.io/status";

/// By kubelets' own traffic shaping and the reference plugin.
const LIMITS: [&str; 2] = ["kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth"];

/// Err tells why the pod is left alone.
pub fn of_pod(conf: &Conf, call: &Call) -> Result<Wants, String> {
    let namespace = call.arg("K8S_POD_NAMESPACE").unwrap_or_default();
    let pod = call.arg("K8S_POD_NAME").unwrap_or_default();
    let is_proxy = conf.node_proxies.iter().any(|proxy| proxy.is(namespace, pod));
    if !is_proxy && conf.excluded_namespaces.iter().any(|n| n == namespace) {
        return Err(format!("namespace {namespace} is excluded"));
    }
    let annotation = |key| conf.runtime.annotations.as_ref()?.get(key).map(String::as_str);
    let on_off = [("on", Switch::On), ("off", Switch::Off)];
    let switch = |key| choose(key, annotation(key), on_off);
    if switch(ACCELERATE).unwrap_or(conf.accelerate) == Switch::Off {
        return Err("it is switched off".to_owned());
    }
    if let Some(limit) = bandwidth_limit(&conf.runtime)
        && conf.accelerate_limited == Switch::Off
        && switch(ACCELERATE) != Some(Switch::On)
    {
        return Err(format!(
            "it has a bandwidth limit ({limit}), which the short way would pass by"
        ));
    }
    let modes = [("accelerate", Policy::ACCELERATE), ("observe", Policy::OBSERVE)];
    let captured = annotation(SIDECAR).is_some();
    let no_mptcp = captured && conf.mptcp == Mptcp::Refuse && !shim::mptcp::is_safe();
    let policy = Policy {
        queue_limit: conf.queue_limit,
        heartbeat: conf.heartbeat,
        blocking: (switch(BLOCKING).unwrap_or(conf.blocking) == Switch::On).into(),
        no_mptcp: no_mptcp.into(),
        mode: choose(MODE, annotation(MODE), modes).unwrap_or(Policy::AS_NODE),
        excluded_ports: conf.excluded_ports.0,
        service_cidrs: conf.service_cidrs.0,
    };
    Ok(Wants {
        policy,
        trusted: named(&conf.trusted_programs, false)
            .chain(named(&conf.polling_programs, true))
            .collect(),
    })
}

fn named(names: &[ProgramName], polls: bool) -> impl Iterator<Item = Named> {
    names.iter().map(move |name| Named { name: name.0, polls })
}

/// What an annotation says. A wrong value is warned of, and as if it were not there.
fn choose<T: Copy>(key: &str, said: Option<&str>, values: [(&str, T); 2]) -> Option<T> {
    let said = said?;
    let value = values.iter().find(|(name, _)| *name == said).map(|(_, value)| *value);
    if value.is_none() {
        let [(one, _), (other, _)] = values;
        log::warn!("annotation {key}: {said:?} is neither {one:?} nor {other:?}");
    }
    value
}

/// What limits a pod's bandwidth.
fn bandwidth_limit(runtime: &RuntimeConfig) -> Option<&'static str> {
    let annotations = runtime.annotations.as_ref();
    let is_annotated = |key: &&str| annotations.is_some_and(|all| all.contains_key(*key));
    let is_told = |limit: &Bandwidth| limit.ingress_rate | limit.egress_rate != 0;
    let told = runtime.bandwidth.as_ref().is_some_and(is_told).then_some("runtimeConfig.bandwidth");
    told.or_else(|| LIMITS.into_iter().find(is_annotated))
}
