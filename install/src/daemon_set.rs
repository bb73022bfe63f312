//! Whether the DaemonSet that brought shunt here is still there, asked of the API server with its
//! pod's own account: no file in a pod tells why the pod ends.

use std::{env, fs, net::IpAddr, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use ureq::{
    Agent,
    tls::{PemItem, RootCerts, TlsConfig, parse_pem},
};

/// Where a kubelet puts what an account has: Kubernetes, "Accessing the API from a Pod".
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the cluster has a DaemonSet of that name, in this pod's namespace, that is not being
/// deleted.
///
/// # Errors
/// This is no pod with a service account, or the API server gives no answer to that question.
pub fn is_wanted(name: &str) -> Result<bool> {
    let account = |file| {
        let path = Path::new(ACCOUNT).join(file);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let (token, namespace, ca) = (account("token")?, account("namespace")?, account("ca.crt")?);
    let url = format!("{}/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}", server()?);
    let roots = parse_pem(ca.as_bytes()).filter_map(|item| match item {
        Ok(PemItem::Certificate(root)) => Some(root),
        _ => None,
    });
    let tls = TlsConfig::builder().root_certs(RootCerts::from(roots)).build();
    let agent: Agent = Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into();
    let mut answer = agent
        .get(&url)
        .header("Authorization", format!("Bearer {}", token.trim()))
        .call()
        .with_context(|| url.clone())?;
    match answer.status().as_u16() {
        200 => {
            let text = answer.body_mut().read_to_string().context("the API server")?;
            let found: Value = serde_json::from_str(&text).context("the API server")?;
            // Deleted in the foreground, it is there until its pods are gone.
            Ok(found["metadata"]["deletionTimestamp"].is_null())
        }
        // Its account or rights may have gone before it, if all was deleted at once.
        401 | 403 | 404 => Ok(false),
        status => bail!("{url}: HTTP status {status}"),
    }
}

fn server() -> Result<String> {
    let variable = |name| env::var(name).with_context(|| format!("no pod: {name} is not set"));
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
    Ok(match host.parse() {
        Ok(IpAddr::V6(ip)) => format!("https://[{ip}]:{port}"),
        _ => format!("https://{host}:{port}"),
    })
}
