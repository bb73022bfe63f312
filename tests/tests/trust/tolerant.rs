//! Sleepers that lose nothing by EAGAIN in recv(2): a JDK's, from 13 on.

use anyhow::{Context as _, Result, ensure};
use shim::{cgroup, sleepers};
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};
use tests::{
    node::Node,
    task::Signal,
    traffic::{Mode::NonBlocking, PORT, Stream, listen},
};

use super::{ROUNDS, SIZE, short};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/trust/Sleeper.java");

/// Rounds in which the client is left to sleep, and how long; an emulated JVM takes its time.
const SLEEPING: u64 = 10;
const UNTIL_IT_SLEEPS: Duration = Duration::from_millis(50);

/// Its second connection takes part, once it was looked at.
pub fn java_takes_part() -> Result<()> {
    let (found, short) = two_connections(Command::new("java").arg(SOURCE))?;
    ensure!(found == 1 && short >= 2 * ROUNDS * 9 / 10, "found {found}, {short} messages");
    Ok(())
}

/// What is only called so stays TCP, whatever lies where a JDK's version would be: none, an old one,
/// and what is no file.
pub fn java_of_another_kind_does_not() -> Result<()> {
    const SLEEPER: &str = "import socket, sys
for line in sys.stdin:
    with socket.create_connection((sys.argv[1], sys.argv[2])) as s:
        for _ in range(100):
            s.sendall(bytes(500))
            left = 500
            while left: left -= len(s.recv(left))
    print('answered', flush=True)";
    let home = Path::new("/run/jdk");
    fs::create_dir_all(home.join("bin"))?;
    let (java, release) = (home.join("bin/java"), home.join("release"));
    fs::copy(fs::canonicalize("/usr/bin/python3")?, &java)?;
    let old = |at: &Path| fs::write(at, "JAVA_VERSION=\"11.0.2\"\n");
    let pipe = |at: &Path| Ok(nix::unistd::mkfifo(at, nix::sys::stat::Mode::S_IRWXU)?);
    let away = |at: &Path| symlink("/proc/self/fd/0", at);
    for lay in
        [&|_: &Path| Ok(()), &old, &pipe, &away] as [&dyn Fn(&Path) -> std::io::Result<()>; 4]
    {
        lay(&release)?;
        let mut command = Command::new(&java);
        command.env("PYTHONHOME", "/usr").args(["-c", SLEEPER]);
        let (found, short) = two_connections(&mut command)?;
        ensure!(found == 0 && short == 0, "found {found}, {short} messages");
        let _ = fs::remove_file(&release);
    }
    Ok(fs::remove_dir_all(home)?)
}

/// Between two connections of a program the sleepers are looked at. How many were found tolerant, and how
/// many messages of the second took the short way.
fn two_connections(client: &mut Command) -> Result<(usize, u64)> {
    let node = Node::learning("tolerant")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let [listening, answered, go] = [Signal::new()?, Signal::new()?, Signal::new()?];
    let server = b.spawn(|| {
        let listener = listen((b.ipv4, PORT), NonBlocking)?;
        listening.raise()?;
        for _ in 0..2 {
            let mut stream = Stream::accept(&listener, NonBlocking)?;
            let mut message = [0; SIZE];
            for round in 0..ROUNDS {
                stream.read_exact(&mut message)?;
                if round < SLEEPING {
                    sleep(UNTIL_IT_SLEEPS);
                }
                stream.write_all(&message)?;
            }
        }
        Ok(())
    })?;
    listening.wait()?;
    let client = a.spawn(|| {
        client.args([b.ipv4.to_string(), PORT.to_string()]);
        let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut asks = client.stdin.take().context("stdin")?;
        let mut lines = BufReader::new(client.stdout.take().context("stdout")?).lines();
        writeln!(asks)?;
        lines.next().context("it ended")??;
        answered.raise()?;
        go.wait()?;
        writeln!(asks)?;
        lines.next().context("it ended")??;
        drop(asks);
        ensure!(client.wait()?.success());
        Ok(())
    })?;
    answered.wait()?;
    let before = short(&node, [&a, &b])?;
    let found = sleepers::look(node.datapath()?.habits(), &cgroup::root()?)?;
    go.raise()?;
    client.join().context("client")?;
    server.join().context("server")?;
    Ok((found, short(&node, [&a, &b])? - before))
}
