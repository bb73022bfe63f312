//! A waypoint: Envoy, in a pod of its own, that takes streams by HTTP/2 CONNECT and connects to where
//! they want to go, as Istio's does but for its encryption.

use crate::{ambient::HBONE, envoy, pod::Pod, task::Process};
use anyhow::Result;
use serde_json::{Value, json};
use std::path::Path;

const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// Starts it in the pod and waits until it listens.
///
/// # Errors
/// It ends, or does not listen within 10 s; its log is in the error.
pub fn start(binary: &Path, pod: &Pod, dir: &Path) -> Result<Process> {
    envoy::start_with(binary, pod, &configuration(), &[HBONE], dir)
}

fn configuration() -> Value {
    let connect = json!([{"upgrade_type": "CONNECT", "connect_config": {}}]);
    let host = json!({
        "name": "all",
        "domains": ["*"],
        "routes": [{
            "match": {"connect_matcher": {}},
            "route": {"cluster": "asked for", "upgrade_configs": connect, "timeout": "0s"},
        }],
    });
    let manager = json!({
        "@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "waypoint",
        "codec_type": "HTTP2",
        "http2_protocol_options": {"allow_connect": true},
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": format!("{TYPES}.filters.http.router.v3.Router")},
        }],
    });
    json!({
        "static_resources": {
            "listeners": [{
                "name": "hbone",
                "address": {"socket_address": {"address": "0.0.0.0", "port_value": HBONE}},
                "filter_chains": [{
                    "filters": [{
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }],
                }],
            }],
            "clusters": [{
                "name": "asked for",
                "type": "ORIGINAL_DST",
                "lb_policy": "CLUSTER_PROVIDED",
                "connect_timeout": "5s",
                "original_dst_lb_config":
                    {"use_http_header": true, "http_header_name": ":authority"},
            }],
        },
    })
}
