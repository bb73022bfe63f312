//! A connection that proxies share: many requests on it at once, some with large answers. Both ends are
//! on tokio, as ztunnel's are.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};
use tests::{
    node::Node,
    pod::Pod,
    task::{Signal, Task},
    traffic::PORT,
    trial,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime,
    sync::mpsc,
    task::JoinSet,
};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("cases::pool::answers_of_400_kb_come", || answers_come(400_000)),
        trial("cases::pool::answers_of_2_mb_come", || answers_come(2_000_000)),
        trial("cases::pool::small_after_large", small_after_large),
    ]
}

/// As much as a stall takes, and far more than any answer does.
const LATE: Duration = Duration::from_millis(900);
const TIME: Duration = Duration::from_secs(6);

fn on_tokio<T>(does: impl Future<Output = Result<T>>) -> Result<T> {
    runtime::Builder::new_current_thread().enable_all().build()?.block_on(does)
}

/// Answers each request with as many bytes as it says.
fn serve(pod: &Pod) -> Result<Task<()>> {
    let listening = Signal::new()?;
    let task = pod.spawn(|| {
        on_tokio(async {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
            listening.raise()?;
            loop {
                let (mut stream, _) = listener.accept().await?;
                tokio::spawn(async move {
                    while let Ok(size) = stream.read_u32().await {
                        stream.write_all(&vec![b'!'; size as usize]).await?;
                    }
                    anyhow::Ok(())
                });
            }
        })
    })?;
    listening.wait()?;
    Ok(task)
}

/// Asks on one connection, with some requests under way at any time; how many answers were late.
async fn ask(stream: &mut TcpStream, largest: u32, time: Duration, at_once: usize) -> Result<u64> {
    let (begin, mut random) = (Instant::now(), fastrand::Rng::with_seed(52));
    let (mut from, mut to) = stream.split();
    let (asked, mut sent) = mpsc::channel(at_once);
    let asking = async move {
        while begin.elapsed() < time {
            let size = random.u32(1..=largest);
            // Waits for as long as too many are under way.
            asked.send((size, Instant::now())).await?;
            to.write_u32(size).await?;
        }
        anyhow::Ok(())
    };
    let reading = async move {
        let mut late = 0;
        while let Some((size, since)) = sent.recv().await {
            from.read_exact(&mut vec![0; size as usize]).await?;
            late += u64::from(since.elapsed() > LATE);
        }
        anyhow::Ok(late)
    };
    Ok(tokio::try_join!(asking, reading)?.1)
}

/// No answer waits for an event that does not come.
fn answers_come(largest: u32) -> Result<()> {
    let node = Node::new("pool")?;
    let late = |[server, client]: [Pod; 2]| -> Result<u64> {
        let _server = serve(&server)?;
        let to = SocketAddr::from((server.ipv4, PORT));
        client.run(|| {
            on_tokio(async {
                let mut connections = JoinSet::new();
                for _ in 0..4 {
                    connections.spawn(async move {
                        ask(&mut TcpStream::connect(to).await?, largest, TIME, 3).await
                    });
                }
                let mut late = 0;
                while let Some(of_one) = connections.join_next().await {
                    late += of_one??;
                }
                Ok(late)
            })
        })
    };
    let plain = late([node.outside("server")?, node.outside("client")?])?;
    let attached = late([node.pod("server")?, node.pod("client")?])?;
    ensure!(
        plain == 0,
        "by plain TCP {plain} answers of more than {LATE:?}: is this machine busy?"
    );
    ensure!(attached == 0, "{attached} answers of more than {LATE:?}");
    Ok(())
}

/// A connection that large answers have passed still takes the short way with small ones.
fn small_after_large() -> Result<()> {
    const SMALL: u64 = 200;
    let node = Node::new("pool")?;
    let (server, client) = (node.pod("server")?, node.pod("client")?);
    let _server = serve(&server)?;
    let (large, small) = (Signal::new()?, Signal::new()?);
    let task = client.spawn(|| {
        on_tokio(async {
            let mut stream = TcpStream::connect((server.ipv4, PORT)).await?;
            ask(&mut stream, 2_000_000, TIME, 3).await?;
            large.raise()?;
            small.wait()?;
            for _ in 0..SMALL {
                stream.write_u32(100).await?;
                stream.read_exact(&mut [0; 100]).await?;
            }
            Ok(())
        })
    })?;
    large.wait()?;
    let before = node.counters(&server)?.shunted.messages;
    small.raise()?;
    task.join()?;
    let counters = node.counters(&server)?;
    let shunted = counters.shunted.messages.checked_sub(before).context("less than before")?;
    ensure!(shunted >= SMALL * 9 / 10, "{shunted} of {SMALL} small answers: {counters:?}");
    Ok(())
}
