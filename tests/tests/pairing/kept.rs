//! What a connection was is known as long as it lasts, and no longer.

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::{
        prctl,
        resource::{Resource, setrlimit},
    },
    unistd::pause,
};
use serde_json::json;
use shim::layout::{Habit, MIN_PAIRS};
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread::sleep,
    time::Duration,
};
use tests::{
    node::Node,
    task::Signal,
    traffic::{Mode::NonBlocking, PORT, Pattern, Stream, listen},
};

const GREETING: usize = 2000;
const CONNECTIONS: u64 = MIN_PAIRS as u64 + 1000;
const GREETS: Pattern = Pattern { seed: 3 };

/// A client that has not read yet what came the short way, while so many others connect that the map of those
/// whose peer is awaited forgets the oldest.
pub fn while_many_others_connect() -> Result<()> {
    let node = Node::new("crowded")?;
    let (a, b, c) = (node.pod("a")?, node.pod("b")?, node.pod("c")?);
    let [listening, greeted, crowded, go] = [(); 4].map(|()| Signal::new());
    let (listening, greeted, crowded, go) = (listening?, greeted?, crowded?, go?);
    let server = b.spawn(|| {
        let listener = listen((b.ipv4, PORT), NonBlocking)?;
        listening.raise()?;
        let mut stream = Stream::accept(&listener, NonBlocking)?;
        let mut greeting = [0; GREETING];
        GREETS.fill(0, &mut greeting);
        stream.write_all(&greeting)?;
        greeted.raise()?;
        stream.read_exact(&mut [0; 10])?;
        Ok(stream.write_all(&[0; 10])?)
    })?;
    listening.wait()?;
    let client = a.spawn(|| {
        let mut stream = Stream::connect((b.ipv4, PORT), NonBlocking)?;
        go.wait()?;
        stream.write_all(&[0; 10])?;
        // Until the answer has come, and what comes with it.
        sleep(Duration::from_millis(500));
        let mut greeting = [0; GREETING];
        stream.read_exact(&mut greeting)?;
        GREETS.check(0, &greeting)?;
        Ok(stream.read_exact(&mut [0; 10])?)
    })?;
    greeted.wait()?;
    let _crowd = c.spawn(|| {
        let files = 2 * CONNECTIONS + 500;
        setrlimit(Resource::RLIMIT_NOFILE, files, files)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let to = listener.local_addr()?;
        let mut open = Vec::<TcpStream>::new();
        for _ in 0..CONNECTIONS {
            open.push(Stream::connect(to, NonBlocking)?.socket);
            open.push(listener.accept()?.0);
        }
        crowded.raise()?;
        pause();
        drop(open);
        Ok(())
    })?;
    crowded.wait()?;
    go.raise()?;
    client.join()?;
    server.join()
}

/// What a program is trusted for by its name, another that listens on its port is not.
pub fn by_the_port_of_another_program() -> Result<()> {
    let mut node = Node::new("port")?;
    node.conf.insert("trustedPrograms".into(), json!(["trusted"]));
    let pod = node.pod("b")?;
    let trust = |name: &str| -> Result<u32> {
        let name = std::ffi::CString::new(name)?;
        pod.run(|| {
            prctl::set_name(&name)?;
            listen((pod.ipv4, PORT), NonBlocking)?;
            Ok(())
        })?;
        let habits = node.habits(&pod)?;
        let of_port = habits.iter().find(|(program, _)| program.port == PORT);
        Ok(of_port.context("no habit of the port")?.1.trusted)
    };
    ensure!(trust("trusted")? == Habit::NAMED);
    ensure!(trust("another")? == 0);
    ensure!(trust("trusted")? == Habit::NAMED);
    Ok(())
}
