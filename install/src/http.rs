//! GET of small pages, by HTTP/1.1. All clients at once, so that one that is slow delays no other.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd as _,
    thread::{sleep, spawn},
    time::{Duration, Instant},
};

use anyhow::Result;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How often to look whether the address is free.
const RETRY: Duration = Duration::from_millis(500);
/// How long a client has, from connect(2) to its answer's last byte.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many are answered at once. The oldest goes when there is one more.
const CLIENTS: usize = 128;
/// A request may have as many bytes.
const REQUEST: usize = 4096;

pub struct Answer {
    status: &'static str,
    kind: &'static str,
    body: String,
}

impl Answer {
    pub fn ok(kind: &'static str, body: String) -> Self {
        Self { status: "200 OK", kind, body }
    }

    pub fn new(status: &'static str, body: String) -> Self {
        Self { status, kind: "text/plain", body }
    }

    fn bytes(self) -> Vec<u8> {
        let Self { status, kind, body } = self;
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

/// Begins to serve, in a thread. Where somebody does already, once that is gone.
///
/// # Errors
/// The address cannot be had.
pub fn start(address: SocketAddr, answer: impl Fn(&str) -> Answer + Send + 'static) -> Result<()> {
    let bound = match TcpListener::bind(address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            log::warn!("{address} is in use; metrics wait until it is free");
            None
        }
        bound => Some(bound?),
    };
    spawn(move || {
        let listener = bound.unwrap_or_else(|| once_free(address));
        // poll(2) may tell of a client that is gone when it is accepted.
        if let Err(error) = listener.set_nonblocking(true) {
            return log::error!("no metrics: {error}");
        }
        log::info!("metrics on http://{}/metrics", listener.local_addr().unwrap_or(address));
        serve(&listener, &answer);
    });
    Ok(())
}

fn once_free(address: SocketAddr) -> TcpListener {
    loop {
        sleep(RETRY);
        if let Ok(listener) = TcpListener::bind(address) {
            return listener;
        }
    }
}

/// Until the process ends.
fn serve(listener: &TcpListener, answer: &impl Fn(&str) -> Answer) {
    let mut clients: Vec<Client> = Vec::new();
    loop {
        let mut fds = vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        fds.extend(clients.iter().map(Client::waits_for));
        let timeout = clients.first().map(|oldest| PATIENCE.saturating_sub(oldest.since.elapsed()));
        // A millisecond more: poll(2) leaves out what is less.
        let timeout = timeout.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let _ = poll(&mut fds, timeout);
        clients.retain_mut(|client| client.since.elapsed() < PATIENCE && client.goes_on(answer));
        match accept(listener) {
            Ok(stream) => {
                if clients.len() == CLIENTS {
                    clients.remove(0);
                }
                clients.push(Client::new(stream));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // It was gone before it was accepted, or memory is short.
            Err(error) => {
                log::debug!("HTTP: {error}");
                sleep(Duration::from_millis(10));
            }
        }
    }
}

fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept()?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

struct Client {
    stream: TcpStream,
    since: Instant,
    request: Vec<u8>,
    /// What is not sent of the answer. `None`: the request is not complete.
    unsent: Option<Vec<u8>>,
}

impl Client {
    fn new(stream: TcpStream) -> Self {
        Self { stream, since: Instant::now(), request: Vec::new(), unsent: None }
    }

    fn waits_for(&self) -> PollFd<'_> {
        let what = if self.unsent.is_some() { PollFlags::POLLOUT } else { PollFlags::POLLIN };
        PollFd::new(self.stream.as_fd(), what)
    }

    /// Reads and writes what can be had at once. False: it is answered, or gone.
    fn goes_on(&mut self, answer: &impl Fn(&str) -> Answer) -> bool {
        if self.unsent.is_none() {
            let mut bytes = [0; REQUEST];
            match self.stream.read(&mut bytes) {
                Ok(0) => return false,
                Ok(read) => self.request.extend_from_slice(&bytes[..read]),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
            let ended = self.request.windows(4).any(|end| end == b"\r\n\r\n");
            if !ended && self.request.len() < REQUEST {
                return true;
            }
            self.unsent = Some(answer_to(&self.request, answer).bytes());
        }
        let unsent = self.unsent.get_or_insert_default();
        match self.stream.write(unsent) {
            Ok(sent) => {
                unsent.drain(..sent);
                !unsent.is_empty()
            }
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }
}

fn answer_to(request: &[u8], answer: &impl Fn(&str) -> Answer) -> Answer {
    let request = String::from_utf8_lossy(request);
    match request.split(' ').take(2).collect::<Vec<_>>()[..] {
        ["GET", path] => answer(path),
        _ => Answer::new("400 Bad Request", "only GET\n".into()),
    }
}
