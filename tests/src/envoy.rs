//! The sidecar: Envoy, configured as Istio configures it, without what is not on the way of bytes.

use crate::{
    istio::{INBOUND, OUTBOUND, PROXY_UID},
    listening::listens,
    pod::Pod,
    task::Process,
};
use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount as bind};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

/// The container of the pod that it runs in.
pub const CONTAINER: &str = "istio-proxy";

/// A path of a program that any user can reach, whatever the modes of the folders above: below /run, by its
/// own name.
///
/// # Errors
/// It is not there.
pub fn mount(program: &Path) -> Result<PathBuf> {
    let path = Path::new("/run").join(program.file_name().context("no name")?);
    File::create(&path)?;
    bind(Some(program), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| program.display().to_string())?;
    Ok(path)
}

/// Starts Envoy in the pod and waits until it listens. Connections to `http_ports` are parsed as
/// HTTP, others are passed on as TCP.
///
/// # Errors
/// It ends, or does not listen within 10 s; its log is in the error.
pub fn start(binary: &Path, pod: &Pod, http_ports: &[u16], dir: &Path) -> Result<Process> {
    start_with(binary, pod, &configuration(http_ports), &[OUTBOUND, INBOUND], dir)
}

/// As [`start`], with that configuration, which makes it listen on these ports.
pub(crate) fn start_with(
    binary: &Path,
    pod: &Pod,
    configuration: &Value,
    ports: &[u16],
    dir: &Path,
) -> Result<Process> {
    let base = dir.join(format!("envoy-{}", pod.container_id));
    let (config, log) = (base.with_extension("json"), base.with_extension("log"));
    fs::write(&config, configuration.to_string())?;
    let mut command = Command::new(binary);
    command
        .arg("--config-path")
        .arg(&config)
        // Two threads, as Istio's default is: one leaves the machine idle part of the time.
        .args(["--concurrency", "2", "--disable-hot-restart"])
        .args(["--log-level", "warning"])
        .stdout(File::create(&log)?)
        .stderr(File::options().append(true).open(&log)?);
    let mut envoy = pod.start_in(CONTAINER, PROXY_UID, &mut command)?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while !pod.run(|| ports.iter().try_fold(true, |all, port| Ok(all && listens(*port)?)))? {
        let ended = envoy.try_wait()?;
        ensure!(
            ended.is_none() && Instant::now() < deadline,
            "Envoy does not listen ({ended:?}): {}",
            fs::read_to_string(&log)?
        );
        sleep(Duration::from_millis(20));
    }
    Ok(envoy)
}

/// Its configuration, as [`start`] writes it.
pub fn configuration(http_ports: &[u16]) -> Value {
    json!({
        "static_resources": {
            "listeners": [
                listener("outbound", OUTBOUND, http_ports),
                listener("inbound", INBOUND, http_ports),
            ],
            "clusters": [
                cluster("outbound", None),
                cluster("inbound", Some("127.0.0.6")),
            ],
        },
    })
}

const TYPES: &str = "type.googleapis.com/envoy.extensions.filters";

fn listener(name: &str, port: u16, http_ports: &[u16]) -> Value {
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": format!("{TYPES}.http.router.v3.Router")},
    });
    let all = json!({
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name}}],
    });
    let http = json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": format!("{TYPES}.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": name,
            "route_config": {"virtual_hosts": [all]},
            "http_filters": [router],
        },
    });
    let tcp = json!({
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": format!("{TYPES}.network.tcp_proxy.v3.TcpProxy"),
            "stat_prefix": name,
            "cluster": name,
        },
    });
    let parsed =
        |port: &u16| json!({"filter_chain_match": {"destination_port": port}, "filters": [http]});
    json!({
        "name": name,
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}},
        // Or chance decides how busy each thread is, and differs from pod to pod.
        "connection_balance_config": {"exact_balance": {}},
        "listener_filters": [{
            "name": "envoy.filters.listener.original_dst",
            "typed_config": {"@type": format!("{TYPES}.listener.original_dst.v3.OriginalDst")},
        }],
        "filter_chains": http_ports.iter().map(parsed).collect::<Vec<_>>(),
        "default_filter_chain": {"filters": [tcp]},
    })
}

/// Connects to where the client wanted to go.
fn cluster(name: &str, source: Option<&str>) -> Value {
    let mut cluster = json!({
        "name": name,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "5s",
        // HTTP/2 where it came by that, as Istio has it.
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "use_downstream_protocol_config": {"http2_protocol_options": {}},
            },
        },
    });
    if let Some(source) = source {
        cluster["upstream_bind_config"] =
            json!({"source_address": {"address": source, "port_value": 0}});
    }
    cluster
}
