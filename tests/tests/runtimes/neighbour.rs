//! Istio's own installer beside shunt's: each changes the list that the other has changed, and is
//! killed while it does.

use crate::host::Host;
use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread::{scope, sleep},
    time::{Duration, Instant},
};
use tests::{needs, task::PATIENCE, trial};

const NET_D: &str = "/etc/cni/net.d";
const BIN: &str = "/opt/cni/bin";
const ROUNDS: u32 = 24;
/// Who has plugins of their own in the list.
const OURS: [&str; 2] = ["shunt", "istio-cni"];

pub fn tests() -> Vec<Trial> {
    let lacking = "Istio's installer is not built: ISTIO is not set, `make test-runtimes` does";
    let there = folder().is_ok();
    [
        trial("istio::in_the_primarys_list", || beside("")),
        trial("istio::with_a_list_of_its_own", || {
            beside(
                "--istio-owned-cni-config --istio-owned-cni-config-filename 02-istio-cni.conflist",
            )
        }),
    ]
    .map(|trial| needs(trial, there, lacking))
    .into()
}

fn folder() -> Result<PathBuf> {
    let folder = PathBuf::from(env::var_os("ISTIO").context("ISTIO is not set")?);
    ensure!(folder.join("done").exists(), "{} is not complete", folder.display());
    Ok(folder)
}

/// A process on the node that ends with this value.
struct Running<'a> {
    host: &'a Host,
    child: Child,
    /// Where it has written its number.
    file: String,
}

impl<'a> Running<'a> {
    fn start(host: &'a Host, script: &str) -> Result<Self> {
        let file = format!("/srv/{}.pid", fastrand::u64(..));
        let script = format!("echo $$ >{file}; {script}");
        let mut command = host.root.command("bash");
        command.args(["-c", &script]).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { host, child: command.spawn()?, file })
    }

    /// That process itself, as the one that entered the node for it has to see it end.
    fn kill(&self) -> Result<()> {
        let written = || fs::read_to_string(self.host.root.path(&self.file)).unwrap_or_default();
        until(self.host, "it has begun", || Ok(!written().is_empty()))?;
        self.host.root.run(&format!("kill -KILL {} || true", written().trim())).map(drop)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            if let Err(error) = self.kill() {
                eprintln!("{error:#}");
            }
            let _ = self.child.wait();
        }
    }
}

/// As its DaemonSet mounts the node's folders. Its network is its own: it writes rules there.
fn istio<'a>(host: &'a Host, options: &str) -> Result<Running<'a>> {
    Running::start(
        host,
        &format!(
            "exec 2>>/istio/log >&2; echo $$ >/istio/pid
             exec unshare --mount --net --pid --fork --kill-child bash -c '
                 mount --bind {BIN} /host/opt/cni/bin
                 mount --bind {NET_D} /host/etc/cni/net.d
                 mount --bind /istio/bin {BIN}
                 mount --bind /proc /host/proc
                 export KUBERNETES_SERVICE_HOST=127.0.0.1 KUBERNETES_SERVICE_PORT=1 NODE_NAME=node \\
                     POD_NAME=istio POD_NAMESPACE=istio-system
                 exec /install-cni --mounted-cni-net-dir /host/etc/cni/net.d --repair-enabled=false \
                     --cni-agent-run-dir /istio/run {options}'"
        ),
    )
}

/// Told to end, it takes its plugin out again.
fn end_istio(host: &Host, istio: Running) -> Result<()> {
    host.root.run("p=$(cat /istio/pid); kill -TERM $(cat /proc/$p/task/$p/children)")?;
    let mut istio = istio;
    let deadline = Instant::now() + PATIENCE;
    while istio.child.try_wait()?.is_none() {
        ensure!(Instant::now() < deadline, "Istio's installer does not end");
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn watch(host: &Host) -> Result<Running<'_>> {
    Running::start(host, "exec /srv/shunt/shuntctl watch 2>>/srv/watch.log")
}

fn node() -> Result<Host> {
    let istio = folder()?;
    let files = ["install-cni", "istio-cni"].map(|name| (istio.join(name), name));
    let host = Host::with("bookworm", &files.map(|(path, name)| (path, format!("/{name}"))))?;
    // Any certificate does, as nobody is asked.
    host.root.run(
        "mkdir -p /host/opt/cni/bin /host/etc/cni/net.d /host/proc /istio/bin /istio/run
         touch /istio/bin/istio-cni; mount --bind /istio-cni /istio/bin/istio-cni
         account=/var/run/secrets/kubernetes.io/serviceaccount; mkdir -p $account
         echo token >$account/token; echo default >$account/namespace",
    )?;
    let certificate = std::process::Command::new("openssl")
        .args(
            "req -x509 -newkey rsa:2048 -nodes -subj /CN=any -days 2 -keyout /dev/null".split(' '),
        )
        .output()?;
    let account = host.root.path("/run/secrets/kubernetes.io/serviceaccount");
    fs::write(account.join("ca.crt"), certificate.stdout)?;
    Ok(host)
}

/// The lists that a runtime could read now, and the types that they name.
fn lists(host: &Host) -> Result<Vec<(PathBuf, Vec<String>)>> {
    let mut lists = Vec::new();
    for entry in fs::read_dir(host.root.path(NET_D))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).unwrap_or_default();
        let Ok(list) = serde_json::from_str::<Value>(&text) else { continue };
        let plugins = list["plugins"].as_array().into_iter().flatten();
        let types = plugins.filter_map(|plugin| Some(plugin["type"].as_str()?.to_owned()));
        lists.push((path, types.collect()));
    }
    Ok(lists)
}

fn names(host: &Host, plugin: &str) -> Result<bool> {
    Ok(lists(host)?.iter().any(|(_, types)| types.iter().any(|kind| kind == plugin)))
}

/// Every list names only what is there. Looked at the plugin between two looks at the list: whoever
/// takes it away has changed the list before.
fn can_be_run(host: &Host) -> Result<()> {
    let before = lists(host)?;
    let gone: Vec<_> =
        OURS.into_iter().filter(|plugin| !host.root.path(BIN).join(plugin).exists()).collect();
    let after = lists(host)?;
    for plugin in gone {
        let naming = |lists: &[(PathBuf, Vec<String>)]| -> Vec<PathBuf> {
            let naming = lists.iter().filter(|(_, types)| types.iter().any(|kind| kind == plugin));
            naming.map(|(path, _)| path.clone()).collect()
        };
        let still = naming(&after);
        if let Some(path) = naming(&before).iter().find(|path| still.contains(path)) {
            bail!("{} names {plugin}, which is not there", path.display());
        }
    }
    Ok(())
}

fn until(host: &Host, what: &str, holds: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds()? {
        let log = fs::read_to_string(host.root.path("/istio/log")).unwrap_or_default();
        let last: Vec<_> = log.lines().rev().take(5).collect();
        ensure!(Instant::now() < deadline, "{what}: {:?} {last:#?}", lists(host)?);
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn beside(options: &str) -> Result<()> {
    let host = node()?;
    let over = AtomicBool::new(false);
    scope(|scope| {
        let looking = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                can_be_run(&host)?;
            }
            anyhow::Ok(())
        });
        let done = come_and_go(&host, options).and_then(|()| leave_in_turn(&host, options));
        over.store(true, Ordering::Relaxed);
        let looked = looking.join().map_err(|_| anyhow::anyhow!("panicked"))?;
        looked.and(done)
    })
}

/// Each at any moment.
fn come_and_go(host: &Host, options: &str) -> Result<()> {
    let (mut istio_there, mut watch_there) = (None, None);
    for _ in 0..ROUNDS {
        match fastrand::u32(..7) {
            0 => istio_there = Some(istio(host, options)?),
            1 => drop(istio_there.take()),
            2 => watch_there = Some(watch(host)?),
            3 => drop(watch_there.take()),
            4 => host.write_list("1.0.0", &[])?,
            5 => drop(Running::start(host, "exec /srv/shunt/shuntctl install")?.after_a_while()),
            _ => drop(
                Running::start(host, "exec /srv/shunt/shuntctl uninstall --settle 1s")?
                    .after_a_while(),
            ),
        }
        sleep(Duration::from_millis(fastrand::u64(..300)));
    }
    Ok(())
}

impl Running<'_> {
    fn after_a_while(self) -> Self {
        sleep(Duration::from_millis(fastrand::u64(..1500)));
        self
    }
}

/// Shunt before Istio and Istio before shunt, both there, and both gone without a trace.
fn leave_in_turn(host: &Host, options: &str) -> Result<()> {
    host.write_list("1.0.0", &[])?;
    host.shuntctl("shuntctl install --wait 20s")?;
    let keeping = watch(host)?;
    let installer = istio(host, options)?;
    let both = || Ok(names(host, "shunt")? && names(host, "istio-cni")?);
    until(host, "both are there", both)?;
    host.write_list("1.0.0", &[])?;
    until(host, "both are there again", both)?;
    let is_first = |path: &Path| path.ends_with("02-istio-cni.conflist");
    until(host, "shunt is in the list that the runtime reads", || {
        let mut lists = lists(host)?;
        lists.sort();
        let own = lists.iter().find(|(path, _)| is_first(path)).or(lists.first());
        Ok(own.is_some_and(|(_, types)| types.iter().any(|kind| kind == "shunt")))
    })?;
    host.shuntctl("shuntctl uninstall --settle 1s")?;
    ensure!(!names(host, "shunt")? && !host.root.path(BIN).join("shunt").exists());
    until(host, "Istio stays", || names(host, "istio-cni"))?;
    host.shuntctl("shuntctl install --wait 20s")?;
    until(host, "both are there", both)?;
    end_istio(host, installer)?;
    until(host, "shunt stays", || Ok(names(host, "shunt")? && !names(host, "istio-cni")?))?;
    drop(keeping);
    host.shuntctl("shuntctl uninstall --settle 1s")?;
    ensure!(!names(host, "shunt")?, "{:?}", lists(host)?);
    Ok(())
}
