//! What the pods' applications do: one echoes, the other checks every byte of what comes back.

use crate::traffic::{Mode::NonBlocking, PORT, Pattern, Stream, listen};
use anyhow::{Context as _, Result};
use std::{
    env,
    io::{Read as _, Write as _, stdin},
    net::{IpAddr, Ipv4Addr},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread::{sleep, spawn},
    time::Duration,
};

const MESSAGE: usize = 16 << 10;
/// One round of so many is on a connection of its own.
const NEW: u64 = 10;

/// For an executable that is these applications too: `serve`, or `talk ADDRESS`. None: neither.
pub fn is_called() -> Option<ExitCode> {
    let args: Vec<_> = env::args().skip(1).collect();
    let said = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => serve(),
        ["talk", to] => talk(to),
        _ => return None,
    };
    let said = said.inspect_err(|error| eprintln!("{error:#}"));
    Some(said.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS))
}

/// Echoes until it is killed.
fn serve() -> Result<()> {
    let listener = listen((Ipv4Addr::UNSPECIFIED, PORT), NonBlocking)?;
    loop {
        // Nobody may come for long.
        let Ok(mut stream) = Stream::accept(&listener, NonBlocking) else { continue };
        spawn(move || -> Result<()> {
            let mut buffer = vec![0; MESSAGE];
            loop {
                let read = stream.read(&mut buffer)?;
                if read == 0 {
                    return Ok(());
                }
                stream.write_all(&buffer[..read])?;
            }
        });
    }
}

/// Talks until its standard input ends, and tells how many rounds that were.
fn talk(to: &str) -> Result<()> {
    static ENDED: AtomicBool = AtomicBool::new(false);
    spawn(|| {
        let _ = stdin().read_to_end(&mut Vec::new());
        ENDED.store(true, Ordering::Relaxed);
    });
    let to: IpAddr = to.parse()?;
    let connect = || Stream::connect((to, PORT), NonBlocking).context("connect");
    let mut old = connect()?;
    let mut rounds = 0;
    while !ENDED.load(Ordering::Relaxed) {
        round(&mut old, rounds).with_context(|| format!("round {rounds}"))?;
        if rounds % NEW == 0 {
            round(&mut connect()?, rounds).with_context(|| format!("new, round {rounds}"))?;
        }
        rounds += 1;
        sleep(Duration::from_millis(10));
    }
    println!("{rounds}");
    Ok(())
}

fn round(stream: &mut Stream, seed: u64) -> Result<()> {
    let mut message = vec![0; MESSAGE];
    Pattern { seed }.fill(0, &mut message);
    stream.write_all(&message)?;
    stream.read_exact(&mut message)?;
    Pattern { seed }.check(0, &message)
}
