//! One play: a program's server, its client and what stands behind it, in pods of their own.

use crate::{
    files::{self, SIZES},
    measure::{self, Sent},
    program::{Program, Role, SOURCES, UNPACKED},
};
use anyhow::{Result, ensure};
use nix::unistd::{Uid, chown};
use serde_json::Value;
use shim::{cgroup, sleepers};
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fs::{self, File},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    thread::sleep,
    time::{Duration, Instant},
};
use tests::{
    envoy,
    listening::listens,
    node::Node,
    pod::{Pod, PodSpec},
    task::Process,
};

/// nobody: not root, which some programs refuse to be, and known to passwd(5).
const USER: u32 = 65534;
/// Envoy reads HTTP on it.
const HTTP: u16 = 8080;
const ORIGIN: u16 = 8082;
/// How long a program may take to start or to answer on plain TCP, on this machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// For the kernel to end what killed processes had open.
const ENDING: Duration = Duration::from_millis(300);

/// When, and on which connections, a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As [`Mode::Keep`], seldom, on connections that shunt knows nothing of.
    First,
    /// Often and at most 64 KiB, on connections that are kept: what is measured.
    Keep,
    /// More than queues hold, on connections that are kept.
    Large,
    /// All of it, with a new connection for each.
    Close,
}

/// What came of one call of the client.
#[derive(Clone, Debug)]
pub struct Answer {
    pub mode: Mode,
    pub printed: String,
    pub complained: String,
    /// None: it hung.
    pub ended: Option<ExitStatus>,
    pub took: Duration,
    pub sent: Sent,
}

pub struct Play {
    pub answers: Vec<Answer>,
    /// What shunt saw of the program's pod, and why it left it to TCP.
    pub signs: [BTreeSet<String>; 2],
    /// Of the files that were asked for, by name.
    pub sums: BTreeMap<String, String>,
}

/// Pods that go when this does, with all that runs there.
struct Scene<'a> {
    program: &'a Program,
    node: &'a Node,
    dir: PathBuf,
    /// Server, client, and the origin where there is one.
    pods: Vec<Pod>,
    shunt: bool,
    running: Vec<Process>,
    sidecars: Vec<Process>,
}

/// Plays the program's part. A client hangs when it takes longer than that.
///
/// # Errors
/// A pod cannot be made, or a server does not listen, with what it printed.
pub fn play(
    program: &Program,
    node: &Node,
    shunt: bool,
    patience: impl Fn(Mode) -> Duration,
) -> Result<Play> {
    let mut scene = Scene::new(program, node, shunt)?;
    scene.raise()?;
    let mut answers = Vec::new();
    for mode in [Mode::First, Mode::Keep, Mode::Large, Mode::Close] {
        answers.push(scene.ask(mode, patience(mode))?);
        if answers.last().is_some_and(|answer| answer.ended.is_none()) {
            break;
        }
        if mode == Mode::First {
            scene.renew()?;
        }
    }
    Ok(Play { answers, signs: scene.signs()?, sums: files::sums(&scene.dir)? })
}

/// What is sent on connections that are kept, until they have ended.
///
/// # Errors
/// As [`play`], or the client hangs.
pub fn kept(program: &Program, node: &Node) -> Result<Sent> {
    let mut scene = Scene::new(program, node, true)?;
    scene.raise()?;
    scene.ask(Mode::First, patience())?;
    scene.renew()?;
    let before = scene.sent()?;
    let answer = scene.ask(Mode::Keep, patience())?;
    ensure!(answer.ended.is_some(), "it hangs");
    scene.end();
    sleep(ENDING);
    Ok(scene.sent()?.since(before))
}

/// What a client may take on plain TCP.
pub fn patience() -> Duration {
    PATIENCE * if is_emulated() { 10 } else { 1 }
}

/// In a VM without KVM.
fn is_emulated() -> bool {
    env::var_os("SHUNT_TEST_SCALE").is_some()
}

impl<'a> Scene<'a> {
    fn new(program: &'a Program, node: &'a Node, shunt: bool) -> Result<Self> {
        let way = if shunt { "shunt" } else { "plain" };
        let dir = node.dir.join(way);
        fs::create_dir(&dir)?;
        files::lay(&dir)?;
        chown(&dir, Some(Uid::from_raw(USER)), None)?;
        let names = ["server", "client", "origin"];
        let pods = names.iter().take(if program.origin.is_empty() { 2 } else { 3 }).map(|name| {
            let mut spec = PodSpec::new(&format!("{way}-{name}"));
            spec.shunt = shunt;
            spec.redirect = program.role == Role::Sidecar;
            node.pod_with(spec)
        });
        let pods = pods.collect::<Result<Vec<Pod>>>()?;
        Ok(Self { program, node, dir, pods, shunt, running: Vec::new(), sidecars: Vec::new() })
    }

    /// Starts what listens, from the back to the front.
    fn raise(&mut self) -> Result<()> {
        if !self.program.origin.is_empty() {
            self.serve(2, ORIGIN, self.program.origin)?;
        }
        self.serve(0, self.program.port, self.program.serve)?;
        self.accompany()
    }

    /// Ends what proxies keep: the first connection is not to be used for all that follows.
    fn renew(&mut self) -> Result<()> {
        if let Some(origin) = self.pods.get(2) {
            origin.kill()?;
            self.serve(2, ORIGIN, self.program.origin)?;
        }
        self.accompany()
    }

    /// Starts sidecars, where there are some, instead of those that run.
    fn accompany(&mut self) -> Result<()> {
        self.sidecars.clear();
        if self.program.role == Role::Sidecar {
            for pod in &self.pods {
                let sidecar = envoy::start(Path::new("/run/envoy"), pod, &[HTTP], &self.node.dir)?;
                self.sidecars.push(sidecar);
            }
        }
        Ok(())
    }

    fn serve(&mut self, pod: usize, port: u16, script: &str) -> Result<()> {
        let log = self.dir.join(format!("{port}.log"));
        let mut bash = self.bash(script, &[("LISTEN", format!(":{port}"))])?;
        let print = File::create(&log)?;
        bash.stdout(print.try_clone()?).stderr(print);
        let pod = &self.pods[pod];
        let mut server = pod.start(USER, &mut bash)?;
        let deadline = Instant::now() + patience();
        // Not by a connection: it would be counted.
        while !pod.run(|| listens(port))? {
            let ended = server.try_wait()?;
            ensure!(
                ended.is_none() && Instant::now() < deadline,
                "{script}: does not listen ({ended:?}): {}",
                fs::read_to_string(&log)?
            );
            sleep(Duration::from_millis(50));
        }
        self.running.push(server);
        Ok(())
    }

    fn ask(&self, mode: Mode, patience: Duration) -> Result<Answer> {
        let [printed, complained] =
            ["out", "err"].map(|ending| self.dir.join(format!("{mode:?}.{ending}")));
        let mut bash = self.bash(self.program.ask, &asked(mode))?;
        bash.stdout(File::create(&printed)?).stderr(File::create(&complained)?);
        let before = self.sent()?;
        let started = Instant::now();
        let mut client = self.pods[1].start(USER, &mut bash)?;
        let mut ended = None;
        while ended.is_none() && started.elapsed() < patience {
            sleep(Duration::from_millis(20));
            if self.shunt {
                // As `shuntctl watch` does.
                sleepers::look(self.node.datapath()?.habits(), &cgroup::root()?)?;
            }
            ended = client.try_wait()?;
        }
        let took = started.elapsed();
        drop(client);
        if ended.is_none() {
            self.pods[1].kill()?;
        }
        let after = self.sent()?;
        Ok(Answer {
            mode,
            printed: String::from_utf8_lossy(&fs::read(printed)?).into(),
            complained: String::from_utf8_lossy(&fs::read(complained)?).into(),
            ended,
            took,
            sent: after.since(before),
        })
    }

    fn bash(&self, script: &str, more: &[(&str, String)]) -> Result<Command> {
        let ip = |pod: usize| self.pods.get(pod).map_or(Ipv4Addr::UNSPECIFIED, |pod| pod.ipv4);
        let path = format!("{UNPACKED}/go:{UNPACKED}/java:/usr/bin:/usr/sbin");
        let mut bash = Command::new("/usr/bin/bash");
        bash.args(["-euo", "pipefail", "-c", script]).current_dir(&self.dir).env_clear();
        bash.envs([
            ("PATH", path.as_str()),
            ("LC_ALL", "C.UTF-8"),
            ("SOURCES", SOURCES),
            ("PYTHONPATH", &format!("{UNPACKED}/python:{SOURCES}/python")),
            ("PYTHONDONTWRITEBYTECODE", "1"),
            ("CLASSPATH", &format!("{UNPACKED}/java/classes:{UNPACKED}/java/lib/*")),
            ("IP", &ip(0).to_string()),
            ("PORT", &self.program.port.to_string()),
            ("URL", &format!("http://{}:{HTTP}", ip(0))),
            ("ORIGIN", &format!("{}:{ORIGIN}", ip(2))),
        ]);
        bash.env("HOME", &self.dir).env("PWD", &self.dir);
        if is_emulated() {
            // What a JVM does by itself aborts it there now and then, on plain TCP too.
            bash.env("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC");
        }
        bash.envs(more.iter().map(|(name, value)| (name, value)));
        Ok(bash)
    }

    fn sent(&self) -> Result<Sent> {
        measure::sent(self.shunt.then_some(self.node), &self.pods)
    }

    fn signs(&self) -> Result<[BTreeSet<String>; 2]> {
        let of = match self.program.role {
            _ if !self.shunt => &[],
            Role::Server | Role::Proxy => &self.pods[..1],
            Role::Client => &self.pods[1..2],
            Role::Both | Role::Sidecar => &self.pods[..],
        };
        measure::signs(self.node, of)
    }

    fn end(&mut self) {
        // All that they have started, too, before what they write to goes.
        for pod in &self.pods {
            if let Err(error) = pod.kill() {
                eprintln!("{}: {error:#}", pod.name);
            }
        }
        self.sidecars.clear();
        self.running.clear();
    }
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        self.end();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// What a client is asked for, as variables: names of files, and after a `+` what is to be posted.
fn asked(mode: Mode) -> Vec<(&'static str, String)> {
    let (small, sizes) = match mode {
        Mode::First => (8, &SIZES[..3]),
        Mode::Keep => (60, &SIZES[..3]),
        Mode::Large => (2, &SIZES[3..]),
        Mode::Close => (2, &SIZES[..]),
    };
    let all = |before: &str| {
        let items = sizes.iter().map(|size| format!("{before}{size}"));
        items.collect::<Vec<_>>().join(" ")
    };
    let small = "1024 ".repeat(small);
    let [whole, chunked, posts, chunked_posts] = ["", "chunked/", "+", "+chunked/"].map(all);
    vec![
        ("MODE", format!("{mode:?}").to_lowercase()),
        ("SIZES", format!("{small}{whole}")),
        ("CHUNKED", chunked.clone()),
        ("POSTS", posts.clone()),
        ("ITEMS", format!("{small}{whole} {chunked} {posts}")),
        ("CHUNKED_POSTS", chunked_posts),
    ]
}

/// Keys of shunt's conf that are tried with all programs, by the environment; all others have their
/// defaults.
pub fn conf() -> serde_json::Map<String, Value> {
    let keys = [("watch", "SHUNT_WATCH"), ("blocking", "SHUNT_BLOCKING")];
    let set = keys.iter().filter_map(|(key, variable)| Some((key, env::var(variable).ok()?)));
    set.map(|(key, value)| (key.to_string(), value.into())).collect()
}
