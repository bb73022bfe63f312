//! The API server of the cluster, spoken to with the account of this pod.

use std::{env, fs, net::IpAddr, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::Value;
use ureq::{
    Agent, Body,
    http::Response,
    tls::{PemItem, RootCerts, TlsConfig, parse_pem},
};

/// Where a kubelet puts what an account has: Kubernetes, "Accessing the API from a Pod".
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Cluster {
    agent: Agent,
    server: String,
    token: String,
    /// Of this pod.
    pub namespace: String,
}

/// What the API server said.
pub struct Answer {
    pub status: u16,
    body: Response<Body>,
}

impl Cluster {
    /// # Errors
    /// This is no pod with a service account.
    pub fn of_this_pod() -> Result<Self> {
        let account = |file| {
            let path = Path::new(ACCOUNT).join(file);
            fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let (token, namespace, ca) = (account("token")?, account("namespace")?, account("ca.crt")?);
        let roots = parse_pem(ca.as_bytes()).filter_map(|item| match item {
            Ok(PemItem::Certificate(root)) => Some(root),
            _ => None,
        });
        let tls = TlsConfig::builder().root_certs(RootCerts::from(roots)).build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .into();
        let token = format!("Bearer {}", token.trim());
        Ok(Self { agent, server: server()?, token, namespace })
    }

    /// # Errors
    /// No answer comes.
    pub fn get(&self, path: &str) -> Result<Answer> {
        let url = format!("{}{path}", self.server);
        let answer = self.agent.get(&url).header("Authorization", &self.token).call();
        answer.map(Answer::new).context(url)
    }

    /// # Errors
    /// No answer comes.
    pub fn post(&self, path: &str, object: &Value) -> Result<Answer> {
        let url = format!("{}{path}", self.server);
        let request = self.agent.post(&url).header("Authorization", &self.token);
        let answer = request.content_type("application/json").send(object.to_string());
        answer.map(Answer::new).context(url)
    }
}

impl Answer {
    fn new(body: Response<Body>) -> Self {
        Self { status: body.status().as_u16(), body }
    }

    /// # Errors
    /// It is no JSON, or did not come whole.
    pub fn object(&mut self) -> Result<Value> {
        let text = self.body.body_mut().read_to_string().context("the API server")?;
        serde_json::from_str(&text).context("the API server")
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
