//! Programs that read in ways of their own: by splice(2), by FIONREAD, asleep in recv(2).

use crate::place::{Expect, Place, compare};
use anyhow::{Context as _, Result};
use libtest_mimic::Trial;
use std::fs;
use tests::trial;

pub fn tests() -> Vec<Trial> {
    // Who is known to read in a way that shunt cannot serve stays TCP: what is asked is that it works.
    let one = |name: &'static str, program: fn(&Place) -> Result<String>| {
        trial(&format!("programs::{name}"), move || compare(name, Expect::Shunted(0), program))
    };
    vec![
        one("haproxy", haproxy),
        one("go_proxy", go_proxy),
        trial("programs::go_tunnels", || {
            compare("go_tunnels", Expect::Shunted(100_000), go_tunnels)
        }),
        one("gunicorn", gunicorn),
        one("java_available", java_available),
    ]
}

/// Fifty answers of 2 MiB that a proxy splices: how many were of which digest.
const DIGESTS: &str = r"
    seq 50 | xargs -P 8 -I {} sh -c 'curl -sS -m 10 http://$IP:8090/ 2>/dev/null | sha256sum' |
        sort | uniq -c
";

fn file(place: &Place, name: &str, text: &str) -> Result<()> {
    fs::write(place.dir.join(name), text).with_context(|| name.to_owned())
}

fn haproxy(place: &Place) -> Result<String> {
    file(place, "origin.py", include_str!("origin.py"))?;
    file(place, "haproxy.cfg", include_str!("haproxy.cfg"))?;
    let _origin = place.serve(8091, "python3.11 origin.py 8091")?;
    let _proxy = place.serve(8090, "haproxy -db -f haproxy.cfg")?;
    place.run(DIGESTS)
}

/// Its listener is plain TCP's, as that of MPTCP would be left alone.
fn go_proxy(place: &Place) -> Result<String> {
    file(place, "origin.py", include_str!("origin.py"))?;
    let _origin = place.serve(8091, "python3.11 origin.py 8091")?;
    let _proxy = place.serve(8090, "env GODEBUG=multipathtcp=0 go-proxy :8090 127.0.0.1:8091")?;
    place.run(DIGESTS)
}

/// A proxy that is known by its answers when it splices for the first time.
fn go_tunnels(place: &Place) -> Result<String> {
    file(place, "tunnels.py", include_str!("tunnels.py"))?;
    file(place, "echo.py", include_str!("echo.py"))?;
    let _echo = place.serve(8091, "python3.11 echo.py 8091")?;
    let _proxy = place.serve(8090, "env GODEBUG=multipathtcp=0 go-proxy :8090")?;
    place.run("python3.11 tunnels.py $IP:8090 127.0.0.1:8091")
}

/// Workers of the kind `sync`, that sleep until a request comes.
fn gunicorn(place: &Place) -> Result<String> {
    file(place, "signalled.py", include_str!("signalled.py"))?;
    file(place, "late.py", include_str!("late.py"))?;
    let _server = place.serve(8093, "gunicorn -w 4 -b 0.0.0.0:8093 signalled:application")?;
    place.run("python3.11 late.py $IP 8093")
}

/// Twenty connections, each read by `while (in.available() == 0) sleep(1)`.
fn java_available(place: &Place) -> Result<String> {
    file(place, "Available.java", include_str!("Available.java"))?;
    file(place, "greets.py", include_str!("greets.py"))?;
    let _server = place.serve(8092, "python3.11 greets.py 8092")?;
    place.run("java Available.java $IP | sort | uniq -c")
}
