//! What a pod wants: whether it is accelerated, and how.

use shim::layout::Policy;

use crate::conf::{Conf, Switch};
use crate::env::Call;

const ACCELERATE: &str = "shunt/accelerate";
/// Istio's injector writes it into every pod that it gives a sidecar.
const SIDECAR: &str = "sidecar.istio.io/status";

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
    Ok(Policy {
        queue_limit: conf.queue_limit,
        proxy_uid: conf.proxy_uid,
        proxy_ports: conf.proxy_ports,
        captured: match annotation(SIDECAR) {
            Some(_) => Policy::CAPTURED,
            None => Policy::NOT_CAPTURED,
        },
        excluded_ports: conf.excluded_ports.0,
    })
}
