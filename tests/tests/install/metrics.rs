//! What `shuntctl watch --metrics` answers.

use super::{
    host::{Host, talk},
    watch::{LIGHT, Watch, entry_is_back, until},
};
use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;
use std::{
    collections::BTreeSet,
    env,
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};
use tests::{needs, trial};

pub fn tests() -> Vec<Trial> {
    let there = env::var_os("DEPLOY").is_some();
    let parsed = trial("metrics::are_what_prometheus_takes", are_what_prometheus_takes);
    vec![
        trial("metrics::tell_what_it_does", tells),
        trial("metrics::nobody_waits_for_idle_clients", nobody_waits_for_idle_clients),
        needs(parsed, there, "no parser: DEPLOY is not set, `make test` does"),
    ]
}

pub fn get(path: &str) -> Result<String> {
    let mut stream = TcpStream::connect("127.0.0.1:9477")?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn metric(page: &str, name: &str) -> Result<u64> {
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.with_context(|| format!("no {name} in {page}"))?.parse()?)
}

fn tells() -> Result<()> {
    let host = Host::new("metrics")?;
    let watch = Watch::start(&host, &["--metrics=127.0.0.1:9477"])?;
    let answer = until("an answer", || Ok(get("/healthz").ok()))?;
    let none = |answer: &str| answer.starts_with("HTTP/1.1 503 ") && answer.contains("net.d");
    until("no primary", || Ok(none(&get("/healthz")?).then_some(())))?;
    ensure!(answer.starts_with("HTTP/1.1 "), "{answer}");
    host.write_primary()?;
    entry_is_back(&host, 0)?;
    until("health", || Ok(get("/healthz")?.starts_with("HTTP/1.1 200 ").then_some(())))?;
    host.accelerates()?;
    let (a, b) = (host.pod("a", host.chain()?)?, host.pod("b", host.chain()?)?);
    talk(&a, &b)?;
    let page = get("/metrics")?;
    ensure!(page.contains("text/plain; version=0.0.4"), "{page}");
    let shunted = metric(&page, "shunt_shunted_bytes_total")?;
    let count = || {
        let counted = [&a, &b].map(|pod| Ok(host.node.counters(pod)?.shunted.bytes));
        counted.into_iter().sum::<Result<u64>>()
    };
    let counted = count()?;
    ensure!(shunted >= counted && counted > 0, "{shunted} of {counted}");
    ensure!(metric(&page, "shunt_pods")? == 2 && metric(&page, "shunt_installed")? == 1);
    ensure!(metric(&page, "shunt_pods_accelerated_total")? == 4);
    ensure!(metric(&page, "shunt_pods_not_accelerated_total{reason=\"full\"}")? == 0);
    ensure!(metric(&page, "shunt_entry_put_back_total")? >= 1);
    // What nobody asked for before the pods went.
    talk(&a, &b)?;
    let more = count()? - counted;
    drop((a, b));
    let last = metric(&get("/metrics")?, "shunt_shunted_bytes_total")?;
    ensure!(last >= shunted + more && more > 0, "{shunted} and {more}, but {last}");
    ensure!(metric(&get("/metrics")?, "shunt_pods")? == 0);
    ensure!(get("/other")?.starts_with("HTTP/1.1 404 "));
    ensure!(watch.memory()? < LIGHT, "{} bytes resident", watch.memory()?);
    watch.stop()
}

fn nobody_waits_for_idle_clients() -> Result<()> {
    let host = Host::new("idle")?;
    host.write_primary()?;
    let watch = Watch::start(&host, &["--metrics=127.0.0.1:9477"])?;
    until("health", || Ok(get("/healthz").ok().filter(|it| it.contains("200 OK"))))?;
    for round in 0..3 {
        let mut idle = Vec::new();
        for client in 0..100 {
            let mut stream = TcpStream::connect("127.0.0.1:9477")?;
            // One of two has begun to ask.
            stream.write_all(&b"GET"[..client % 2 * 3])?;
            idle.push(stream);
        }
        ensure!(
            get("/healthz")?.contains("200 OK") && get("/metrics")?.contains("shunt_installed 1")
        );
        for stream in &mut idle {
            stream.set_nonblocking(true)?;
            let still = stream.read(&mut [0]).is_err_and(|it| it.kind() == ErrorKind::WouldBlock);
            ensure!(still, "round {round}: answered only when the idle were gone");
        }
        for stream in &mut idle {
            stream.set_nonblocking(false)?;
            ensure!(
                stream.read(&mut [0]).is_ok_and(|read| read == 0),
                "an idle one was not let go"
            );
        }
    }
    // One that never stops asking.
    let mut endless = TcpStream::connect("127.0.0.1:9477")?;
    let cut = (0..).find(|_| {
        sleep(Duration::from_millis(100));
        endless.write_all(b"G").is_err()
    });
    ensure!(cut.is_some());
    ensure!(watch.memory()? < LIGHT, "{} bytes resident", watch.memory()?);
    watch.stop()
}

/// Prometheus' own parser for Python, which is strict about families.
fn are_what_prometheus_takes() -> Result<()> {
    let host = Host::new("parsed")?;
    host.write_primary()?;
    let watch = Watch::start(&host, &["--metrics=127.0.0.1:9477"])?;
    entry_is_back(&host, 0)?;
    let (_a, _b) = (host.pod("a", host.chain()?)?, host.pod("b", host.chain()?)?);
    let page = get("/metrics")?;
    let (_, page) = page.split_once("\r\n\r\n").context("no body")?;
    let parse = "import sys\nfrom prometheus_client.parser import text_string_to_metric_families as parse\n\
                 for f in parse(sys.stdin.read()):\n  print(f.name, f.type, len(f.samples), f.documentation)";
    let mut python = Command::new("python3")
        .args(["-c", parse])
        .env("PYTHONPATH", env::var("DEPLOY")? + "/python")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    python.stdin.take().context("stdin")?.write_all(page.as_bytes())?;
    let output = python.wait_with_output()?;
    let families = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{page}");
    let mut names = BTreeSet::new();
    for family in families.lines() {
        let [name, kind, _, help] = family.splitn(4, ' ').collect::<Vec<_>>()[..] else {
            bail!("{family}");
        };
        ensure!(matches!(kind, "counter" | "gauge") && help.ends_with('.'), "{family}");
        ensure!(names.insert(name), "{name} twice");
    }
    ensure!(names.len() == page.matches("# TYPE ").count(), "{families}{page}");
    watch.stop()
}
