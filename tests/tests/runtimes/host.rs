//! A node: some Debian in a throw-away root, with a primary's network, and shunt as README says.

use crate::{folder, readme};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use shim::{datapath::Datapath, layout::name, pins};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};
use tests::{envoy, istio, root::Root, task::PATIENCE};

/// The network's list.
pub const LIST: &str = "/etc/cni/net.d/10-pods.conflist";
/// The one image: busybox, as containers find the node's programs where they are.
pub const IMAGE: &str = "busybox:0";
/// Envoy parses nothing.
const NO_HTTP: &[u16] = &[1];

pub struct Host {
    pub root: Root,
}

impl Host {
    /// With plugins, their list and an image, and shunt's two binaries in a folder.
    ///
    /// # Errors
    /// `scripts/setup runtimes` has not unpacked that Debian's.
    pub fn new(debian: &str) -> Result<Self> {
        Self::with(debian, &[])
    }

    /// As [`Host::new`], with each of these files at the path that goes with it.
    ///
    /// # Errors
    /// As [`Host::new`].
    pub fn with(debian: &str, more: &[(PathBuf, String)]) -> Result<Self> {
        let envoy = env::var_os("ENVOY").context("ENVOY is not set: make test-runtimes sets it")?;
        let mut files = vec![(envoy.into(), "/envoy"), (env::current_exe()?, "/program")];
        files.extend(more.iter().map(|(path, at)| (path.clone(), at.as_str())));
        let host = Self { root: Root::new(&folder()?.join(debian), &files)? };
        // Images' layers cannot lie on an overlay.
        host.root.run(
            "mkdir -p /opt/cni/bin /etc/cni/net.d /var/lib/containers /var/lib/containerd /srv/shunt
             cp /usr/lib/cni/* /opt/cni/bin
             mount -t tmpfs containers /var/lib/containers
             mount -t tmpfs containerd /var/lib/containerd",
        )?;
        for (variable, name) in [("SHUNT_BIN", "shunt"), ("SHUNTCTL_BIN", "shuntctl")] {
            let binary = env::var_os(variable).context(variable)?;
            fs::copy(binary, host.root.path("/srv/shunt").join(name))?;
        }
        let envoy = envoy::configuration(NO_HTTP).to_string();
        fs::write(host.root.path("/srv/envoy.json"), envoy)?;
        let rules = istio::rules("127.0.0.1/32", "127.0.0.6/32");
        fs::write(host.root.path("/srv/rules"), rules)?;
        host.write_list("1.0.0", &[])?;
        image(&host.root.path("/srv/image.tar"))?;
        Ok(host)
    }

    /// The primary's list anew, of that version of CNI and with such plugins behind the bridge.
    ///
    /// # Errors
    /// Of the file system.
    pub fn write_list(&self, version: &str, plugins: &[Value]) -> Result<()> {
        let bridge = json!({
            "type": "bridge",
            "bridge": "pods",
            "isGateway": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.98.0.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        });
        let plugins = [&[bridge], plugins].concat();
        let list = json!({"cniVersion": version, "name": "pods", "plugins": plugins});
        Ok(fs::write(self.root.path(LIST), format!("{list:#}\n"))?)
    }

    /// Adds a plugin behind all that are in the list.
    ///
    /// # Errors
    /// There is no list.
    pub fn append(&self, plugin: Value) -> Result<()> {
        let path = self.root.path(LIST);
        let mut list: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
        list["plugins"].as_array_mut().context("plugins")?.push(plugin);
        Ok(fs::write(path, list.to_string())?)
    }

    /// As README says.
    ///
    /// # Errors
    /// A command fails, with what it printed.
    pub fn install(&self) -> Result<()> {
        self.install_without_watch()?;
        self.shuntctl(&format!("{} >/srv/watch.log 2>&1 &", readme::commands()?.watch)).map(drop)
    }

    /// # Errors
    /// As [`Host::install`].
    pub fn install_without_watch(&self) -> Result<()> {
        readme::commands()?.install.iter().try_for_each(|it| self.shuntctl(it).map(drop))
    }

    /// As README says.
    ///
    /// # Errors
    /// As [`Host::install`].
    pub fn uninstall(&self) -> Result<()> {
        self.shuntctl(readme::commands()?.uninstall).map(drop)
    }

    /// What `shuntctl status` tells.
    ///
    /// # Errors
    /// As [`Host::install`].
    pub fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.shuntctl("shuntctl status --json")?)?)
    }

    /// What its shunt has pinned.
    ///
    /// # Errors
    /// Nothing is pinned.
    pub fn datapath(&self) -> Result<Datapath> {
        Datapath::open(&self.pins())?.context("nothing is pinned")
    }

    fn pins(&self) -> PathBuf {
        self.root.path("/sys/fs/bpf/shunt")
    }

    /// In the folder where the two binaries are.
    ///
    /// # Errors
    /// As [`Host::install`].
    pub fn shuntctl(&self, command: &str) -> Result<String> {
        self.root.run(&format!("cd /srv/shunt; PATH=$PWD:$PATH; {command}"))
    }

    /// Waits until shunt has nothing of any pod: neither in the kernel nor in the bpffs.
    ///
    /// # Errors
    /// Something is left.
    pub fn has_no_pods(&self) -> Result<()> {
        let datapath = self.datapath()?;
        let deadline = Instant::now() + PATIENCE;
        // The kernel closes the sockets of a network namespace in its own time.
        while !datapath.connections()?.cookies()?.is_empty() {
            let left = datapath.connections()?;
            ensure!(Instant::now() < deadline, "sockets are left: {:?}", left.all()?);
            sleep(Duration::from_millis(50));
        }
        let links = fs::read_dir(pins::folder(&self.pins()).join(name::LINKS))?.count();
        let (pods, ips) = (datapath.pods()?.len(), datapath.pod_ips()?.len());
        let left = [links, pods, ips, datapath.attachments()?.len()];
        ensure!(left == [0; 4], "links, pods, addresses and attachments that are left: {left:?}");
        Ok(())
    }
}

fn image(archive: &Path) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/image");
    let sleeps = r#"["/busybox", "sleep", "infinity"]"#;
    let made = Command::new(script).arg(archive).args([IMAGE, sleeps, "/bin/busybox"]).status()?;
    ensure!(made.success(), "deploy/image: {made}");
    Ok(())
}
