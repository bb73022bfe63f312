//! What a pod wants: whether it is accelerated, and how.

use shim::layout::Policy;

use crate::conf::{Bandwidth, Conf, RuntimeConfig, Switch};
use crate::env::Call;

const ACCELERATE: &str = "shunt/accelerate";
/// Istio's injector writes it into every pod that it gives a sidecar.
const SIDECAR: &str = "sidecar.istio.io/status";

/// By kubelets' own traffic shaping and the reference plugin.
const LIMITS: [&str; 2] = ["kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth"];

/// Err tells why the pod is left alone.
pub fn of_pod(conf: &Conf, call: &Call) -> Result<Policy, String> {
    let namespace = call.arg("K8S_POD_NAMESPACE").unwrap_or_default();
    if conf.excluded_namespaces.iter().any(|n| n == namespace) {
        return Err(format!("namespace {namespace} is excluded"));
    }
    let annotation = |key| conf.runtime.annotations.as_ref()?.get(key).map(String::as_str);
    let accelerate = match annotation(ACCELERATE) {
        Some("on") => Switch::On,
        Some("off") => Switch::Off,
        Some(wrong) => {
            log::warn!("annotation {ACCELERATE}: {wrong:?} is neither \"on\" nor \"off\"");
            conf.accelerate
        }
        None => conf.accelerate,
    };
    if accelerate == Switch::Off {
        return Err("it is switched off".to_owned());
    }
    if let Some(limit) = bandwidth_limit(&conf.runtime)
        && conf.accelerate_limited == Switch::Off
        && annotation(ACCELERATE) != Some("on")
    {
        return Err(format!(
            "it has a bandwidth limit ({limit}), which the short way would pass by"
        ));
    }
    Ok(Policy {
        queue_limit: conf.queue_limit,
        heartbeat: conf.heartbeat,
        proxy_uid: conf.proxy_uid,
        proxy_ports: conf.proxy_ports,
        captured: match annotation(SIDECAR) {
            Some(_) => Policy::CAPTURED,
            None => Policy::NOT_CAPTURED,
        },
        excluded_ports: conf.excluded_ports.0,
        reserved: 0,
    })
}

/// What limits a pod's bandwidth.
fn bandwidth_limit(runtime: &RuntimeConfig) -> Option<&'static str> {
    let annotations = runtime.annotations.as_ref();
    let is_annotated = |key: &&str| annotations.is_some_and(|all| all.contains_key(*key));
    let is_told = |limit: &Bandwidth| limit.ingress_rate | limit.egress_rate != 0;
    let told = runtime.bandwidth.as_ref().is_some_and(is_told).then_some("runtimeConfig.bandwidth");
    told.or_else(|| LIMITS.into_iter().find(is_annotated))
}
