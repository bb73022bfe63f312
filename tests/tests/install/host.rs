//! A node that shunt is installed on, with folders of its own for what a runtime reads and calls.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::PathBuf,
};
use tests::{
    cni::Chain,
    node::Node,
    pod::{Pod, PodSpec},
    shuntctl::{self, Answer},
    traffic::{Mode, Pattern, Stream, converse},
};

/// Mode, owner, group and content by path.
pub type Traces = BTreeMap<PathBuf, (u32, u32, u32, Vec<u8>)>;

/// Where a primary keeps its list.
pub const LIST: &str = "10-primary.conflist";

/// A node with folders of its own for what a runtime reads and calls.
pub struct Host {
    pub node: Node,
    pub net_dir: PathBuf,
    pub bin_dir: PathBuf,
}

impl Host {
    pub fn new(name: &str) -> Result<Host> {
        let node = Node::new(name)?;
        let (net_dir, bin_dir) = (node.dir.join("net.d"), node.dir.join("bin"));
        fs::create_dir(&net_dir)?;
        fs::create_dir(&bin_dir)?;
        for plugin in ["bridge", "host-local"] {
            symlink(tests::cni::find(plugin)?, bin_dir.join(plugin))?;
        }
        Ok(Host { node, net_dir, bin_dir })
    }

    /// The list of a primary, different in each generation.
    pub fn primary(&self, generation: u64) -> String {
        let Chain { name, version, plugins, .. } =
            self.node.chain(false, "1.0.0", &Default::default());
        let list = json!({
            "cniVersion": version, "name": name, "generation": generation, "plugins": plugins,
        });
        format!("{list:#}\n")
    }

    pub fn list(&self) -> PathBuf {
        self.net_dir.join(LIST)
    }

    /// The primary's list with mode and owner that nobody gives to a file by chance.
    pub fn write_primary(&self) -> Result<()> {
        fs::write(self.list(), self.primary(0))?;
        fs::set_permissions(self.list(), fs::Permissions::from_mode(0o640))?;
        Ok(chown(self.list(), Some(12), Some(34))?)
    }

    pub fn arguments(&self, command: &str) -> Result<Vec<String>> {
        let Node { pins, lock, .. } = &self.node;
        let mut arguments = vec![
            command.to_owned(),
            format!("--net-dir={}", self.net_dir.display()),
            format!("--bin-dir={}", self.bin_dir.display()),
            format!("--pin-path={}", pins.display()),
            format!("--lock-file={}", lock.display()),
        ];
        if !["uninstall", "upgrade", "doctor"].contains(&command) {
            arguments.push(format!("--binary={}", tests::cni::shunt()?.display()));
        }
        Ok(arguments)
    }

    pub fn shuntctl(&self, command: &str, more: &[&str]) -> Result<Answer> {
        let arguments = self.arguments(command)?;
        shuntctl::run(arguments.iter().map(String::as_str).chain(more.iter().copied()))
    }

    pub fn install(&self, more: &[&str]) -> Result<Answer> {
        self.shuntctl("install", more)
    }

    pub fn uninstall(&self) -> Result<Answer> {
        self.shuntctl("uninstall", &["--settle=0s"])
    }

    /// The chain that a runtime would use now: the first file by name.
    pub fn chain(&self) -> Result<Chain> {
        let mut files: Vec<_> =
            fs::read_dir(&self.net_dir)?.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
        files.sort();
        let first = files.first().context("no network configuration")?;
        let chain = Chain::parse(&fs::read_to_string(first)?);
        let chain = chain.with_context(|| first.display().to_string())?;
        Ok(Chain { bin_dir: Some(self.bin_dir.clone()), ..chain })
    }

    /// With the keys of the node's conf: the tests' own processes are trusted by name.
    pub fn pod(&self, name: &str, mut chain: Chain) -> Result<Pod> {
        for plugin in chain.plugins.iter_mut().filter(|plugin| plugin["type"] == "shunt") {
            for (key, value) in &self.node.conf {
                if plugin[key].is_null() {
                    plugin[key] = value.clone();
                }
            }
        }
        self.node.pod_with(PodSpec { chain: Some(chain), ..PodSpec::new(name) })
    }

    /// Everything that installing may leave behind, as it is now.
    pub fn traces(&self) -> Result<Traces> {
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
    pub fn is_as(&self, before: &Traces) -> Result<()> {
        let now = self.traces()?;
        let changed = |(path, _): &(&PathBuf, _)| now.get(*path) != before.get(*path);
        let paths: Vec<_> =
            now.iter().chain(before).filter(changed).map(|(path, _)| path).collect();
        ensure!(paths.is_empty(), "left, changed or missing: {paths:?}");
        Ok(())
    }

    /// Two pods that a runtime makes now are accelerated.
    pub fn accelerates(&self) -> Result<()> {
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
pub fn talk(a: &Pod, b: &Pod) -> Result<()> {
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
