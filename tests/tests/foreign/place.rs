//! Where a program runs: the pods of its server and its client, and what shunt made of it.

use anyhow::{Context as _, Result, ensure};
use nix::unistd::{Uid, chown};
use shim::layout::Counters;
use std::{
    fs::{self, File},
    net::Ipv4Addr,
    path::PathBuf,
    process::Command,
    ptr,
    time::Duration,
};
use tests::{
    node::Node,
    pod::Pod,
    task::{Process, Task},
};

/// nobody: not root, which some programs refuse to be, and known to passwd(5).
const USER: u32 = 65534;
/// How long one script may take: ten times what the slowest does on an idle machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// What shunt should do for a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// At least so many bytes go the short way, in one pod and between two.
    Shunted(u64),
    /// It needs plain TCP, so none does.
    Plain,
}

pub struct Place<'a> {
    pub server: &'a Pod,
    pub client: &'a Pod,
    /// Where the client finds the server.
    pub ip: Ipv4Addr,
    /// A folder for its files, where all its scripts run.
    pub dir: PathBuf,
}

impl<'a> Place<'a> {
    pub fn new(node: &Node, name: &str, server: &'a Pod, client: &'a Pod) -> Result<Self> {
        let ip = if ptr::eq(server, client) { Ipv4Addr::LOCALHOST } else { server.ipv4 };
        let dir = node.dir.join(name);
        fs::create_dir(&dir)?;
        chown(&dir, Some(Uid::from_raw(USER)), None)?;
        Ok(Place { server, client, ip, dir })
    }

    /// Starts a server; it listens on this port when this returns, and ends on drop.
    ///
    /// # Errors
    /// It ended, with what it printed, or did not listen within half a minute.
    pub fn serve(&self, port: u16, command: &str) -> Result<Process> {
        let log = self.dir.join(format!("{port}.log"));
        let print = File::create(&log)?;
        let mut bash = self.bash(&format!("exec {command}"));
        let server = self.server.start(USER, bash.stdout(print.try_clone()?).stderr(print))?;
        // Not by a connection: it would be counted.
        let wait = format!(
            "for try in {{1..300}}; do
                 ss -Hltn 'sport = :{port}' | grep -q . && exit
                 sleep 0.1
             done
             exit 1"
        );
        self.shell(self.server, &wait)?
            .join()
            .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        Ok(server)
    }

    /// Runs a script where the client is; what it prints.
    ///
    /// # Errors
    /// It fails, with all it printed, or takes too long.
    pub fn run(&self, script: &str) -> Result<String> {
        self.shell(self.client, script)?.join_within(PATIENCE)
    }

    /// Starts a script where the client is; what it prints. It runs for as long as it may.
    ///
    /// # Errors
    /// As [`Pod::spawn`].
    pub fn start(&self, script: &str) -> Result<Task<String>> {
        self.shell(self.client, script)
    }

    fn shell(&self, pod: &Pod, script: &str) -> Result<Task<String>> {
        pod.spawn_as(USER, || {
            let output = self.bash(script).output()?;
            let [out, err] = [output.stdout, output.stderr]
                .map(|text| String::from_utf8_lossy(&text).into_owned());
            ensure!(output.status.success(), "{}: {out}{err}", output.status);
            Ok(out)
        })
    }

    fn bash(&self, script: &str) -> Command {
        let mut bash = Command::new("/usr/bin/bash");
        bash.args(["-euo", "pipefail", "-c", script]).current_dir(&self.dir).env_clear();
        bash.envs([("PATH", "/usr/bin:/usr/sbin"), ("LC_ALL", "C.UTF-8")]);
        bash.env("IP", self.ip.to_string()).env("HOME", &self.dir);
        bash
    }
}

/// Runs a program on plain TCP and with shunt in one pod and between two: what it makes of each
/// must be the same, and shunt must have done what is expected.
pub fn compare(name: &str, expect: Expect, program: fn(&Place) -> Result<String>) -> Result<()> {
    let node = Node::learning(name)?;
    let (plain, peer) = (node.outside("plain")?, node.outside("peer")?);
    let (one, server, client) = (node.pod("one")?, node.pod("server")?, node.pod("client")?);
    let verdict = |way: &str, server, client| {
        program(&Place::new(&node, way, server, client)?).with_context(|| way.to_owned())
    };
    let expected = verdict("plain", &plain, &peer)?;
    for (way, server, client) in [("in_one_pod", &one, &one), ("between_pods", &server, &client)] {
        // Once to become known, and once known.
        for time in ["first", "then"] {
            let way = format!("{way}_{time}");
            same(&expected, &verdict(&way, server, client)?).context(way.clone())?;
            // Workers of a server that was ended would answer for the next.
            server.kill()?;
        }
        check(expect, node.counters(server)?).with_context(|| way.to_owned())?;
    }
    Ok(())
}

/// The lines that only one of two verdicts has.
pub fn differences<'a>(plain: &'a str, shunted: &'a str) -> impl Iterator<Item = &'a str> {
    let only = |of: &'a str, other: &'a str| {
        of.lines().filter(move |line| !other.lines().any(|other| other == *line))
    };
    only(plain, shunted).chain(only(shunted, plain))
}

/// # Errors
/// They differ, and how.
pub fn same(plain: &str, shunted: &str) -> Result<()> {
    let differ: Vec<&str> = differences(plain, shunted).collect();
    ensure!(
        plain == shunted,
        "not as on plain TCP: {differ:#?}\non plain TCP:\n{plain}\nwith shunt:\n{shunted}"
    );
    Ok(())
}

/// # Errors
/// Shunt did not do for the server's pod what is expected.
pub fn check(expect: Expect, counters: Counters) -> Result<()> {
    let Counters { plain, shunted, .. } = counters;
    let met = match expect {
        Expect::Shunted(least) => shunted.bytes >= least,
        // The first time its program is not known yet.
        Expect::Plain => shunted.bytes == 0 && plain.total() > 0,
    };
    ensure!(met, "{expect:?}, but {counters:?}");
    Ok(())
}
