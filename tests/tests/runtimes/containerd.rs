//! containerd on a node, with a client of its CRI.

use crate::{
    cri::Cri,
    host::{Host, IMAGE, LIST},
};
use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};
use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};
use tests::task::PATIENCE;

pub struct Containerd {
    pub host: Host,
    pub cri: Cri,
}

impl Containerd {
    /// # Errors
    /// `scripts/setup runtimes` has not unpacked that Debian's; a part of it does not start.
    pub fn new(debian: &str) -> Result<Self> {
        Self::on(Host::new(debian)?)
    }

    /// # Errors
    /// As [`Containerd::new`].
    pub fn on(host: Host) -> Result<Self> {
        let config = format!(
            r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{IMAGE}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/opt/cni/bin"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"#
        );
        fs::write(host.root.path("/srv/containerd.toml"), config)?;
        let cri = Cri::new(&host.root.path("/run/containerd/containerd.sock"))?;
        let containerd = Self { host, cri };
        containerd.start()?;
        containerd.host.root.run("ctr --namespace k8s.io image import /srv/image.tar")?;
        Ok(containerd)
    }

    /// Pods and their shims stay, as with systemd's KillMode=process.
    ///
    /// # Errors
    /// It does not come back.
    pub fn restart(&self) -> Result<()> {
        self.host.root.run(
            "kill $(</srv/containerd.pid)
             while kill -0 $(</srv/containerd.pid) 2>/dev/null; do sleep 0.05; done",
        )?;
        self.start()
    }

    fn start(&self) -> Result<()> {
        self.host.root.run(
            "containerd --config /srv/containerd.toml >>/srv/containerd.log 2>&1 &
             echo $! >/srv/containerd.pid",
        )?;
        let deadline = Instant::now() + PATIENCE;
        // It is there before it answers.
        while let Err(error) = self.cri.call("Version", json!({})) {
            ensure!(Instant::now() < deadline, error);
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits until it knows the network's list as that is now.
    ///
    /// # Errors
    /// It does not read it.
    pub fn knows_list(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.cri.call("Status", json!({"verbose": true}))?;
            let known = status["info"]["cniconfig"].as_str().context("no cniconfig")?;
            let known: Value = serde_json::from_str(known)?;
            let networks = known["Networks"].as_array().context("no network")?;
            let list = fs::read_to_string(self.host.root.path(LIST))?;
            if networks.iter().any(|network| network["Config"]["Source"] == list) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the runtime still has {known}");
            sleep(Duration::from_millis(50));
        }
    }

    /// Adds to an error what it, `watch` and the containers have logged, and what shunt knows.
    pub fn told<T>(&self, done: Result<T>) -> Result<T> {
        done.map_err(|error| {
            let log = self.host.root.run(
                "tail -n 20 /srv/containerd.log; tail /srv/watch.log /srv/log/*/*; /srv/shunt/shuntctl status || :",
            );
            anyhow!("{error:#}\n{}", log.unwrap_or_else(|error| format!("{error:#}")))
        })
    }
}
