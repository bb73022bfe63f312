//! conntrack forgets a connection on which it sees nothing for longer than its timeout, and what comes
//! then is INVALID. Ends that use their connection all the time never see that.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use serde_json::json;
use std::{
    fs,
    io::{self, ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Shutdown},
    path::PathBuf,
    process::Command,
    thread::sleep,
    time::Duration,
};
use tests::{
    istio::OUTBOUND,
    node::Node,
    pod::{Pod, PodSpec},
    task::{Signal, Task},
    traffic::{Mode::NonBlocking, PORT, Pattern, Stream, listen},
    trial,
};

use super::{beat_each_second, patience, talk::told};
use crate::pairing::command;

pub fn tests() -> Vec<Trial> {
    let one = |name, serve, drive| trial(name, move || compare(serve, drive));
    vec![
        one("cases::conntrack::client_ends", |s| talk(s, false, ends), |s| talk(s, true, leaves)),
        one("cases::conntrack::server_ends", |s| talk(s, false, leaves), |s| talk(s, true, ends)),
        one(
            "cases::conntrack::all_that_waits",
            |s| talk(s, false, fills),
            |s| talk(s, true, drains),
        ),
        one("cases::conntrack::client_half_closes", says_more, half_closes),
        one("cases::conntrack::server_half_closes", half_closes, says_more),
        trial("cases::conntrack::looks_alive", looks_alive),
    ]
}

/// Seconds, of both kinds of entries: far less than a connection lives here.
const TIMEOUT: u32 = 3;
/// Of a connection that is never silent for longer than a pause.
const TURNS: usize = 36;
const PAUSE: Duration = Duration::from_millis(250);
const PATTERN: Pattern = Pattern { seed: 48 };

type Talk = fn(Stream) -> io::Result<String>;

/// Asks and answers for a while.
fn talk(mut stream: Stream, is_first: bool, then: Talk) -> io::Result<String> {
    for turn in 0..TURNS {
        if (turn % 2 == 0) == is_first {
            sleep(PAUSE);
            stream.write_all(b"turn")?;
        } else {
            stream.read_exact(&mut [0; 4])?;
        }
    }
    then(stream)
}

/// Reads to the end, and says how much it was.
fn ends(mut stream: Stream) -> io::Result<String> {
    let mut bytes = Vec::new();
    let end = told(stream.read_to_end(&mut bytes).map(|_| "end".into()));
    // At once: what comes later than the timeout of CLOSE_WAIT is dropped. Who has left does not hear it.
    let _ = stream.write_all(&bytes.len().to_le_bytes());
    let wrong = if PATTERN.check(0, &bytes).is_ok() { "" } else { "wrong bytes, " };
    Ok(format!("{wrong}{end}"))
}

/// Reads only when nothing goes in any more; a reader as quick as its peer would be fed for ever.
fn drains(stream: Stream) -> io::Result<String> {
    sleep(PAUSE * 4);
    ends(stream)
}

fn leaves(_: Stream) -> io::Result<String> {
    Ok("left".into())
}

/// Sends until nothing goes in any more, and ends: how much of it has come.
fn fills(mut stream: Stream) -> io::Result<String> {
    let (mut bytes, mut sent) = (vec![0; 1 << 16], 0);
    loop {
        PATTERN.fill(sent, &mut bytes);
        match (&stream.socket).write(&bytes) {
            Ok(n) => sent += n as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    stream.shutdown(Shutdown::Write)?;
    let mut read = [0; 8];
    stream.read_exact(&mut read)?;
    let lost = sent - u64::from_le_bytes(read);
    Ok(format!("{lost} bytes lost"))
}

/// Three exchanges, and then all that the peer says.
fn half_closes(mut stream: Stream) -> io::Result<String> {
    for _ in 0..3 {
        stream.write_all(b"ask")?;
        stream.read_exact(&mut [0; 6])?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut bytes = Vec::new();
    let end = told(stream.read_to_end(&mut bytes).map(|n| n.to_string()));
    Ok(format!("{} bytes, {end}", bytes.len()))
}

/// Answers, and goes on for a while after the peer's end.
fn says_more(mut stream: Stream) -> io::Result<String> {
    for _ in 0..3 {
        stream.read_exact(&mut [0; 3])?;
        stream.write_all(b"answer")?;
    }
    let end = stream.read(&mut [0])?;
    for _ in 0..TURNS {
        sleep(PAUSE);
        stream.write_all(b".")?;
    }
    Ok(format!("read {end}"))
}

/// A connection that conntrack sees: inside a pod whose connections are captured, or on a node that
/// forwards between two.
struct Seen {
    client: Pod,
    /// None: the client's.
    server: Option<Pod>,
}

/// A setting of this network namespace, for a while.
struct Sysctl(PathBuf, String);

impl Sysctl {
    fn set(name: &str, value: u32) -> Result<Self> {
        let path = PathBuf::from("/proc/sys/net/netfilter").join(name);
        let before = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        fs::write(&path, value.to_string())?;
        Ok(Self(path, before))
    }
}

impl Drop for Sysctl {
    fn drop(&mut self) {
        let _ = fs::write(&self.0, &self.1);
    }
}

fn impatient() -> Result<[Sysctl; 2]> {
    let set = |name| Sysctl::set(name, TIMEOUT);
    Ok([set("nf_conntrack_tcp_timeout_established")?, set("nf_conntrack_tcp_timeout_close_wait")?])
}

/// In the node's network namespace, for a while.
struct Rule(String);

impl Rule {
    fn add(rule: String) -> Result<Self> {
        command("iptables", &format!("-I {rule}"))?;
        Ok(Self(rule))
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        let _ = command("iptables", &format!("-D {}", self.0));
    }
}

impl Seen {
    fn captured(node: &Node, shunt: bool) -> Result<Self> {
        let mut spec = PodSpec::new("captured").annotate("sidecar.istio.io/status", "{}");
        (spec.redirect, spec.shunt) = (true, shunt);
        beat_each_second(&mut spec);
        let client = node.pod_with(spec)?;
        client.run(|| impatient().map(std::mem::forget))?;
        Ok(Self { client, server: None })
    }

    /// The node routes between them; by a bridge it would see nothing.
    fn routed(node: &Node, shunt: bool) -> Result<Self> {
        let pod = |name| {
            let mut spec = PodSpec::new(name);
            spec.shunt = shunt;
            beat_each_second(&mut spec);
            let mut chain = node.chain(shunt, &spec.cni_version, &spec.conf);
            let ipam = chain.plugins[0]["ipam"].clone();
            chain.plugins[0] = json!({"type": "ptp", "ipam": ipam});
            spec.chain = Some(chain);
            node.pod_with(spec)
        };
        Ok(Self { client: pod("client")?, server: Some(pod("server")?) })
    }

    /// What the server and the client see, both in tasks of their own.
    fn start(&self, serve: Talk, drive: Talk) -> Result<[Task<String>; 2]> {
        let server = self.server.as_ref().unwrap_or(&self.client);
        let (port, to) = match &self.server {
            None => (OUTBOUND, Ipv4Addr::new(10, 200, 0, 1)),
            Some(server) => (PORT, server.ipv4),
        };
        let listening = Signal::new()?;
        let patient = |stream: Stream| Stream { patience: patience() * 2, ..stream };
        let server = server.spawn(|| {
            let listener = listen((Ipv4Addr::UNSPECIFIED, port), NonBlocking)?;
            listening.raise()?;
            let stream = Stream::accept(&listener, NonBlocking)?;
            Ok(told(serve(patient(stream))))
        })?;
        listening.wait()?;
        // The sidecar's own are not captured.
        let client = self.client.spawn_as(1000, || {
            Ok(told(drive(patient(Stream::connect((IpAddr::from(to), PORT), NonBlocking)?))))
        })?;
        Ok([server, client])
    }
}

/// All of them at once, as they mostly wait.
fn compare(serve: Talk, drive: Talk) -> Result<()> {
    let node = Node::new("conntrack")?;
    let _forward =
        Rule::add(format!("FORWARD -s {}/24 -m conntrack --ctstate INVALID -j DROP", node.ipv4))?;
    let _timeouts = impatient()?;
    let pods = [
        [Seen::captured(&node, false)?, Seen::captured(&node, true)?],
        [Seen::routed(&node, false)?, Seen::routed(&node, true)?],
    ];
    let talks = pods.each_ref().map(|both| both.each_ref().map(|seen| seen.start(serve, drive)));
    let mut seen = Vec::new();
    for (way, talks) in ["captured", "routed"].into_iter().zip(talks) {
        let [plain, attached] = talks.map(|tasks| -> Result<_> {
            let [server, client] = tasks?;
            Ok([server.join()?, client.join()?])
        });
        seen.push((way, plain?, attached?));
    }
    let told = || format!("by plain TCP and attached: {seen:?}");
    ensure!(seen.iter().all(|(_, plain, _)| !plain.concat().contains("hangs")), told());
    ensure!(seen.iter().all(|(_, plain, attached)| plain == attached), told());
    for [_, seen] in &pods {
        let counters = node.counters(&seen.client)?;
        ensure!(counters.shunted.messages > 0, "the short way was not taken: {counters:?}");
    }
    Ok(())
}

/// What an operator sees of a connection in use, by tools that know nothing of shunt.
fn looks_alive() -> Result<()> {
    let node = Node::new("alive")?;
    let see = |shunt| -> Result<(bool, bool)> {
        let seen = Seen::captured(&node, shunt)?;
        let talks = seen.start(|s| talk(s, false, leaves), |s| talk(s, true, leaves))?;
        // Longer than the timeout; what looks takes its time too.
        sleep(PAUSE * TURNS as u32 / 2);
        let alive = seen.client.run(|| {
            let entries = output("conntrack -L -p tcp --state ESTABLISHED")?;
            let sockets = output("ss -tnHOi state established")?;
            Ok((entries.contains("ESTABLISHED"), latest(&sockets) == 2))
        })?;
        talks.map(Task::join).into_iter().try_for_each(|talk| talk.map(drop))?;
        let short = shunt && node.counters(&seen.client)?.shunted.messages > 0;
        ensure!(short == shunt, "the short way was not taken");
        Ok(alive)
    };
    ensure!(see(false)? == (true, true), "conntrack and ss do not see that plain TCP is alive");
    let seen = see(true)?;
    ensure!(seen == (true, true), "conntrack and ss see that it is alive: {seen:?}");
    Ok(())
}

/// How many of the sockets that `ss` lists have received since conntrack would have forgotten them. It says
/// nothing of the last millisecond.
fn latest(sockets: &str) -> usize {
    let ago = |line: &str| -> Option<u32> {
        line.split(' ').find_map(|word| word.strip_prefix("lastrcv:")?.parse().ok())
    };
    sockets.lines().filter(|line| ago(line).unwrap_or(0) < TIMEOUT * 1000).count()
}

fn output(command: &str) -> Result<String> {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap_or_default()).args(words).output()?;
    ensure!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
