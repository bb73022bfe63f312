//! TLS by others' programs, told to use kernel TLS where they can.

use anyhow::{Context as _, Result, ensure};
use std::{
    env::temp_dir,
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio, id},
    thread,
};
use tests::{pod::Pod, task::Process, traffic::Stream};

use super::{Row, end::seen, scene::Scene};

pub const ROWS: &[Row] = &[("openssl_through_sidecars", openssl), ("python_ssl", python)];

/// A key, a certificate, and a configuration of OpenSSL that asks for kernel TLS.
struct Files(PathBuf);

impl Files {
    fn new() -> Result<Self> {
        let files = Self(temp_dir().join(format!("shunt-tls-{}", id())));
        fs::create_dir(&files.0)?;
        let options =
            "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nOptions = KTLS\n";
        fs::write(files.0.join("conf"), options)?;
        let make = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=test";
        let mut openssl = Command::new("openssl");
        openssl.args(make.split(' ')).args(["-keyout", "key", "-out", "cert"]);
        let output = openssl.current_dir(&files.0).output().context("openssl")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(files)
    }

    fn start(&self, pod: &Pod, program: &str, args: &[&str]) -> Result<Process> {
        let mut command = Command::new(program);
        command.args(args).current_dir(&self.0).env("OPENSSL_CONF", "conf");
        pod.start(0, command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Copies both ways until both have ended.
fn relay(outer: TcpStream, inner: &TcpStream) -> io::Result<()> {
    let copy = |from: &TcpStream, to: &TcpStream| -> io::Result<()> {
        let (mut from, mut to) = (Stream::from(from.try_clone()?), Stream::from(to.try_clone()?));
        let copied = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
        copied.map(drop)
    };
    thread::scope(|scope| {
        let back = scope.spawn(|| copy(inner, &outer));
        let there = copy(&outer, inner);
        there.and(back.join().expect("no panic"))
    })
}

fn loopback(pod: &Pod) -> Result<TcpListener> {
    pod.enter()?;
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?)
}

/// `s_client` and `s_server` block, so each speaks to a sidecar, and those two to each other.
fn openssl(s: Scene) -> Result<String> {
    const LINES: usize = 100;
    let files = Files::new()?;
    let [client, server] = [s.at.client(), s.at.server()];
    // A free port.
    let port = loopback(server)?.local_addr()?.port().to_string();
    let serve = ["s_server", "-quiet", "-rev", "-key", "key", "-cert", "cert", "-accept", &port];
    let _server = files.start(server, "openssl", &serve)?;
    let to_server = loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port.parse()?)) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => thread::yield_now(),
            connected => break connected?,
        }
    };
    let listener = loopback(client)?;
    let to = listener.local_addr()?.to_string();
    let mut process = files.start(client, "openssl", &["s_client", "-quiet", "-connect", &to])?;
    let from_client = listener.accept()?.0;
    thread::scope(|scope| {
        scope.spawn(|| relay(from_client, &s.a.socket));
        scope.spawn(|| relay(to_server, &s.b.socket));
        let mut stdin = process.stdin.take().context("stdin")?;
        let mut stdout = BufReader::new(process.stdout.take().context("stdout")?).lines();
        let mut right = 0;
        for n in 0..LINES {
            let line = format!("{n:05}").repeat(1 + n * 10);
            writeln!(stdin, "{line}")?;
            let back = stdout.next().context("no answer")??;
            right += usize::from(back.chars().rev().eq(line.chars()));
        }
        process.kill()?;
        seen![right]
    })
}

/// A server that sends back what it gets and a client, both in non-blocking mode from the start.
const PYTHON: &str = r#"
import select, socket, ssl, sys
def patiently(tls, act):
    while True:
        try: return act()
        except ssl.SSLWantReadError: select.select([tls], [], [])
        except ssl.SSLWantWriteError: select.select([], [tls], [])
def talk(s, context, **side):
    tls = context.wrap_socket(s, do_handshake_on_connect=False, **side)
    patiently(tls, tls.do_handshake)
    return tls
if sys.argv[1] == "server":
    listener = socket.create_server((sys.argv[2], 0))
    listener.setblocking(False)
    print(listener.getsockname()[1], flush=True)
    select.select([listener], [], [])
    s, _ = listener.accept()
    s.setblocking(False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("cert", "key")
    tls = talk(s, context, server_side=True)
    while data := patiently(tls, lambda: tls.recv(100000)):
        while data:
            data = data[patiently(tls, lambda: tls.send(data)):]
else:
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex((sys.argv[2], int(sys.argv[3])))
    select.select([], [s], [])
    context = ssl.create_default_context(cafile="cert")
    context.check_hostname = False
    tls = talk(s, context)
    right = 0
    for n in [1, 10, 1000, 100000, 10, 1, 300000]:
        sent = bytes(i * n % 251 for i in range(n))
        data, back = sent, b""
        while len(back) < n:
            if data:
                data = data[patiently(tls, lambda: tls.send(data[:16384])):]
            back += patiently(tls, lambda: tls.recv(100000))
        right += back == sent
    print(right, "right")
"#;

fn python(s: Scene) -> Result<String> {
    let files = Files::new()?;
    let (client, server) = (s.at.client(), s.at.server());
    let ip = server.ipv4.to_string();
    let mut serve = files.start(server, "python3", &["-c", PYTHON, "server", &ip])?;
    let mut port = String::new();
    BufReader::new(serve.stdout.take().context("stdout")?).read_line(&mut port)?;
    let before = s.at.shunted()?;
    let args = ["-c", PYTHON, "client", &ip, port.trim()];
    let mut client = files.start(client, "python3", &args)?;
    let mut said = String::new();
    client.stdout.take().context("stdout")?.read_to_string(&mut said)?;
    s.at.has_shunted_since(before)?;
    seen![said.trim()]
}
