//! shuntctl puts shunt on a node, keeps it there, and takes it off without a trace.

mod watch;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::PathBuf,
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};
use tests::{
    cni::Chain,
    node::Node,
    pod::{Pod, PodSpec},
    shuntctl::{self, Answer},
    task::PATIENCE,
    traffic::{Mode, Pattern, Stream, converse},
    trial,
};

pub fn tests() -> Vec<Trial> {
    let here = vec![
        trial("install::pods_are_accelerated_and_nothing_is_left", leaves_nothing),
        trial("install::half_installed_is_taken_off", half_installed),
        trial("install::where_the_runtime_looks", where_the_runtime_looks),
        trial("install::waits_for_a_primary", waits_for_a_primary),
        trial("install::tells_and_changes_nothing", tells_and_changes_nothing),
        trial("install::a_node_that_cannot_accelerate", cannot_accelerate),
    ];
    [here, watch::tests()].into_iter().flatten().collect()
}

/// Mode, owner, group and content by path.
type Traces = BTreeMap<PathBuf, (u32, u32, u32, Vec<u8>)>;

/// Where a primary keeps its list.
const LIST: &str = "10-primary.conflist";

/// A node with folders of its own for what a runtime reads and calls.
struct Host {
    node: Node,
    net_dir: PathBuf,
    bin_dir: PathBuf,
}

impl Host {
    fn new(name: &str) -> Result<Host> {
        let node = Node::new(name)?;
        let (net_dir, bin_dir) = (node.dir.join("net.d"), node.dir.join("bin"));
        fs::create_dir(&net_dir)?;
        fs::create_dir(&bin_dir)?;
        symlink(tests::cni::find("bridge")?, bin_dir.join("bridge"))?;
        Ok(Host { node, net_dir, bin_dir })
    }

    /// The list of a primary, different in each generation.
    fn primary(&self, generation: u64) -> String {
        let Chain { name, version, plugins, .. } =
            self.node.chain(false, "1.0.0", &Default::default());
        let list = json!({
            "cniVersion": version, "name": name, "generation": generation, "plugins": plugins,
        });
        format!("{list:#}\n")
    }

    fn list(&self) -> PathBuf {
        self.net_dir.join(LIST)
    }

    /// The primary's list with mode and owner that nobody gives to a file by chance.
    fn write_primary(&self) -> Result<()> {
        fs::write(self.list(), self.primary(0))?;
        fs::set_permissions(self.list(), fs::Permissions::from_mode(0o640))?;
        Ok(chown(self.list(), Some(12), Some(34))?)
    }

    fn arguments(&self, command: &str) -> Result<Vec<String>> {
        let Node { pins, lock, .. } = &self.node;
        let mut arguments = vec![
            command.to_owned(),
            format!("--net-dir={}", self.net_dir.display()),
            format!("--bin-dir={}", self.bin_dir.display()),
            format!("--pin-path={}", pins.display()),
            format!("--lock-file={}", lock.display()),
        ];
        if command != "uninstall" {
            arguments.push(format!("--binary={}", tests::cni::shunt()?.display()));
        }
        Ok(arguments)
    }

    fn shuntctl(&self, command: &str, more: &[&str]) -> Result<Answer> {
        let arguments = self.arguments(command)?;
        shuntctl::run(arguments.iter().map(String::as_str).chain(more.iter().copied()))
    }

    fn install(&self, more: &[&str]) -> Result<Answer> {
        self.shuntctl("install", more)
    }

    fn uninstall(&self) -> Result<Answer> {
        self.shuntctl("uninstall", &["--settle=0s"])
    }

    /// The chain that a runtime would use now: the first file by name.
    fn chain(&self) -> Result<Chain> {
        let mut files: Vec<_> =
            fs::read_dir(&self.net_dir)?.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
        files.sort();
        let first = files.first().context("no network configuration")?;
        let chain = Chain::parse(&fs::read_to_string(first)?);
        let chain = chain.with_context(|| first.display().to_string())?;
        Ok(Chain { bin_dir: Some(self.bin_dir.clone()), ..chain })
    }

    fn pod(&self, name: &str, chain: Chain) -> Result<Pod> {
        self.node.pod_with(PodSpec { chain: Some(chain), ..PodSpec::new(name) })
    }

    /// Everything that installing may leave behind, as it is now.
    fn traces(&self) -> Result<Traces> {
        let mut found = Traces::new();
        let mut folders = vec![self.net_dir.clone(), self.bin_dir.clone(), "/sys/fs/bpf".into()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                folders.extend(note(&mut found, entry?.path())?);
            }
        }
        for entry in fs::read_dir("/run")?.chain(fs::read_dir(&self.node.dir)?) {
            note(&mut found, entry?.path())?;
        }
        // The chain's own state.
        found
            .retain(|path, _| !path.ends_with("ipam") && !path.to_string_lossy().contains("netns"));
        Ok(found)
    }

    /// The node is as it was; else names what is not.
    fn is_as(&self, before: &Traces) -> Result<()> {
        let now = self.traces()?;
        let changed = |(path, _): &(&PathBuf, _)| now.get(*path) != before.get(*path);
        let paths: Vec<_> =
            now.iter().chain(before).filter(changed).map(|(path, _)| path).collect();
        ensure!(paths.is_empty(), "left, changed or missing: {paths:?}");
        Ok(())
    }

    /// Two pods that a runtime makes now are accelerated.
    fn accelerates(&self) -> Result<()> {
        let (a, b) = (self.pod("a", self.chain()?)?, self.pod("b", self.chain()?)?);
        talk(&a, &b)?;
        let counters = self.node.counters(&a)?;
        ensure!(counters.shunted.bytes > 0, "nothing was shunted: {counters:?}");
        Ok(())
    }
}

/// Notes a file with mode, owner and content; gives a folder to be looked into.
fn note(found: &mut Traces, path: PathBuf) -> Result<Option<PathBuf>> {
    // Of the chain and of pods that are there.
    if path.ends_with("ipam") || path.to_string_lossy().contains("netns") {
        return Ok(None);
    }
    let file = fs::symlink_metadata(&path)?;
    let bytes = if file.is_file() && !path.starts_with("/sys") { fs::read(&path)? } else { vec![] };
    found.insert(path.clone(), (file.mode(), file.uid(), file.gid(), bytes));
    Ok(file.is_dir().then_some(path))
}

/// Questions and answers between two pods, each byte checked. In turn, as a stream of one side
/// alone may stay on TCP: its reader is never done with what came by TCP.
fn talk(a: &Pod, b: &Pod) -> Result<()> {
    let pattern = Pattern { seed: 1 };
    let turns = (0..100).map(|turn| turn * 1000);
    let say = |stream: &mut Stream, at| {
        let mut message = [0; 1000];
        pattern.fill(at, &mut message);
        stream.write_all(&message)
    };
    let hear = |stream: &mut Stream, at| {
        let mut message = [0; 1000];
        stream.read_exact(&mut message)?;
        pattern.check(at, &message)
    };
    let serve = |mut stream| {
        turns.clone().try_for_each(|at| {
            hear(&mut stream, at)?;
            Ok(say(&mut stream, at + 1)?)
        })
    };
    let ask = |mut stream| {
        turns.clone().try_for_each(|at| {
            say(&mut stream, at)?;
            hear(&mut stream, at + 1)
        })
    };
    converse((b, a), b.ipv4.into(), Mode::NonBlocking, serve, ask).map(drop)
}

fn leaves_nothing() -> Result<()> {
    let host = Host::new("leaves")?;
    host.write_primary()?;
    let before = host.traces()?;
    let log = host.node.log();
    let entry = host.node.dir.join("entry.json");
    fs::write(&entry, json!({"logFile": log, "queueLimit": 1 << 20}).to_string())?;
    let entry = format!("--entry={}", entry.display());

    let installed = host.install(&[&entry])?;
    ensure!(installed.code == 0 && installed.json["binary_placed"] == true, "{installed:?}");
    ensure!(installed.json["changed"] == json!([host.list()]), "{installed:?}");
    ensure!(installed.json["cannot_accelerate"].is_null(), "{installed:?}");
    let file = fs::metadata(host.list())?;
    ensure!((file.mode() & 0o7777, file.uid(), file.gid()) == (0o640, 12, 34));
    let text = fs::read_to_string(host.list())?;
    ensure!(host.chain()?.plugins[1]["queueLimit"] == 1 << 20, "{text}");
    ensure!(host.node.pins.exists());

    let again = host.install(&[&entry])?;
    ensure!(again.code == 0 && again.json["binary_placed"] == false, "{again:?}");
    ensure!(again.json["changed"] == json!([]), "{again:?}");
    ensure!(fs::read_to_string(host.list())? == text);

    host.accelerates()?;
    let mut pod = host.pod("survivor", host.chain()?)?;
    ensure!(log.exists());
    let removed = host.uninstall()?;
    ensure!(removed.code == 0, "{removed:?}");
    fs::remove_file(host.node.dir.join("entry.json"))?;
    host.is_as(&before)?;
    // A pod that was there is deleted, and a new one starts, with the chain as it is now.
    pod.chain = host.chain()?;
    pod.chain.del(&pod.call, Some(&pod.result))?;
    host.pod("new", host.chain()?)?;
    fs::copy(tests::cni::shunt()?, host.bin_dir.join("shunt"))?;
    let kept = host.shuntctl("uninstall", &["--keep-binary"])?;
    ensure!(kept.code == 0 && host.bin_dir.join("shunt").exists(), "{kept:?}");
    let again = host.uninstall()?;
    ensure!(again.code == 0 && again.json["changed"] == json!([]), "{again:?}");
    host.is_as(&before)?;
    Ok(())
}

/// Whatever part of it is there.
fn half_installed() -> Result<()> {
    let host = Host::new("half")?;
    host.write_primary()?;
    let before = host.traces()?;
    type Break = fn(&Host) -> io::Result<()>;
    let breaks: [Break; 5] = [
        |host| fs::remove_file(host.bin_dir.join("shunt")),
        |host| fs::remove_dir_all(&host.node.pins),
        |host| fs::remove_file(host.node.pin("shunt_establish")),
        |host| host.write_primary().map_err(io::Error::other),
        // As a process leaves it that was killed while writing.
        |host| fs::write(host.net_dir.join(format!("{LIST}.shunt-new")), "{"),
    ];
    for broken in breaks {
        ensure!(host.install(&[])?.code == 0);
        broken(&host)?;
        let removed = host.uninstall()?;
        ensure!(removed.code == 0, "{removed:?}");
        host.is_as(&before)?;
    }
    // What cannot be read may name shunt: the binary must stay.
    ensure!(host.install(&[])?.code == 0);
    let half = fs::read_to_string(host.list())?;
    let half = &half[..half.len() - 4];
    fs::write(host.list(), half)?;
    ensure!(host.uninstall()?.code == 1);
    ensure!(host.bin_dir.join("shunt").exists() && host.node.pins.exists());
    ensure!(fs::read_to_string(host.list())? == half);
    Ok(())
}

/// Debian's containerd looks in /usr/lib/cni.
fn where_the_runtime_looks() -> Result<()> {
    let host = Host::new("elsewhere")?;
    host.write_primary()?;
    fs::remove_file(host.bin_dir.join("bridge"))?;
    let refused = host.install(&[])?;
    let told = refused.json["error"].as_str().is_some_and(|error| error.contains("--bin-dir"));
    ensure!(refused.code == 1 && told, "{refused:?}");
    ensure!(fs::read_to_string(host.list())? == host.primary(0));
    Ok(())
}

fn waits_for_a_primary() -> Result<()> {
    let host = Host::new("waits")?;
    let before = host.traces()?;
    let none = host.install(&[])?;
    ensure!(none.code == 4 && none.json["primary"].is_null(), "{none:?}");
    let mut waiting = shuntctl::command()?
        .args(host.arguments("install")?)
        .arg(format!("--wait={}s", PATIENCE.as_secs()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    sleep(Duration::from_millis(300));
    // Half of it first: that is not to be touched.
    let text = host.primary(0);
    fs::write(host.list(), &text[..text.len() / 2])?;
    sleep(Duration::from_millis(500));
    ensure!(fs::read_to_string(host.list())? == text[..text.len() / 2]);
    fs::write(host.list(), &text)?;
    ensure!(waiting.wait()?.success());
    ensure!(host.chain()?.plugins.len() == 2);
    host.accelerates()?;
    ensure!(host.uninstall()?.code == 0);
    fs::remove_file(host.list())?;
    host.is_as(&before)?;
    Ok(())
}

fn tells_and_changes_nothing() -> Result<()> {
    let host = Host::new("tells")?;
    host.write_primary()?;
    let entry = host.node.dir.join("entry.json");
    fs::write(&entry, r#"{"queueLimit": "much"}"#)?;
    let before = host.traces()?;
    let dry = host.install(&["--dry-run"])?;
    let diff = dry.json["diff"].as_str().context("no diff")?;
    ensure!(dry.code == 0 && diff.contains("+      \"type\": \"shunt\""), "{dry:?}");
    host.is_as(&before)?;
    // The plugin would fail every pod.
    let wrong = host.install(&[&format!("--entry={}", entry.display())])?;
    let error = wrong.json["error"].as_str().context("no error")?;
    ensure!(wrong.code == 1 && error.contains("queueLimit"), "{wrong:?}");
    host.is_as(&before)?;
    fs::write(host.list(), host.primary(0).replace("1.0.0", "0.2.0"))?;
    let old = host.install(&[])?;
    ensure!(old.code == 1 && old.json["error"].as_str().is_some_and(|e| e.contains("0.2.0")));
    ensure!(fs::read_to_string(host.list())?.contains("0.2.0"));
    Ok(())
}

/// Its pods are as they would be without shunt.
fn cannot_accelerate() -> Result<()> {
    let mut host = Host::new("cannot")?;
    host.node.pins = host.node.dir.join("no-bpffs");
    host.write_primary()?;
    let before = host.traces()?;
    let refused = host.install(&["--must-accelerate"])?;
    ensure!(refused.code == 3, "{refused:?}");
    fs::remove_file(&host.node.lock)?;
    host.is_as(&before)?;
    let installed = host.install(&[])?;
    let why = installed.json["cannot_accelerate"].as_str().context("no reason")?;
    ensure!(installed.code == 0 && why.contains("bpffs"), "{installed:?}");
    let (a, b) = (host.pod("a", host.chain()?)?, host.pod("b", host.chain()?)?);
    talk(&a, &b)?;
    drop((a, b));
    ensure!(host.uninstall()?.code == 0);
    host.is_as(&before)?;
    Ok(())
}
