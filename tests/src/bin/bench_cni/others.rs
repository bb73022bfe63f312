//! Connections of what is no pod, where programs run for all sockets.

use anyhow::Result;
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};
use tests::{
    node::Node,
    pod::{Pod, PodSpec},
    task::{Signal, Task},
    traffic::PORT,
};

const WINDOW: Duration = Duration::from_millis(300);

/// Two ends that shunt knows nothing of, on a node where its programs run for all or for none.
pub struct Others {
    // In the order in which they go.
    _server: Task<()>,
    ends: [Pod; 2],
    _known: Option<Pod>,
    _node: Node,
}

impl Others {
    pub fn new(runs_for_all: bool) -> Result<Self> {
        let node = Node::new(if runs_for_all { "all" } else { "none" })?;
        let known = PodSpec::new("known").by_namespace(&node);
        let known = runs_for_all.then(|| node.pod_with(known)).transpose()?;
        let ends = [node.outside("server")?, node.outside("client")?];
        let (address, listening) = (ends[0].ipv4, Signal::new()?);
        let server = ends[0].spawn(|| {
            let listener = TcpListener::bind((address, PORT))?;
            listening.raise()?;
            loop {
                let (mut stream, _) = listener.accept()?;
                let mut byte = [0];
                stream.read_exact(&mut byte)?;
                stream.write_all(&byte)?;
            }
        })?;
        listening.wait()?;
        Ok(Self { _server: server, ends, _known: known, _node: node })
    }

    /// Connections a second, each with a request and an answer of one byte.
    pub fn connections(&self) -> Result<f64> {
        let [server, client] = &self.ends;
        client.run(|| {
            let (started, mut count) = (Instant::now(), 0_u32);
            while started.elapsed() < WINDOW {
                let mut stream = TcpStream::connect((server.ipv4, PORT))?;
                stream.set_nodelay(true)?;
                stream.write_all(&[1])?;
                stream.read_exact(&mut [0])?;
                count += 1;
            }
            Ok(f64::from(count) / started.elapsed().as_secs_f64())
        })
    }
}
