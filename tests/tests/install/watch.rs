//! `shuntctl watch`, while somebody rewrites what it keeps.

use super::*;
use crate::scale::scaled;
use shim::{pins, sweep::EVERY};
use std::{
    fs::{File, OpenOptions},
    process::Child,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use tests::bare::Bare;

pub fn tests() -> Vec<Trial> {
    vec![
        trial("watch::keeps_the_entry_while_pods_are_made", keeps_the_entry),
        trial("watch::killed_and_restarted", killed_and_restarted),
        trial("watch::does_not_fight", does_not_fight),
        trial("watch::keeps_the_binary", keeps_the_binary),
        trial("watch::leaves_an_uninstalled_node_alone", leaves_alone),
        trial("watch::sweeps_so_that_add_need_not", sweeps_for_add),
    ]
}

/// Resident memory that a watch may take.
pub const LIGHT: u64 = 10 << 20;

pub struct Watch(pub Child);

impl Watch {
    pub fn start(host: &Host, more: &[&str]) -> Result<Watch> {
        let log = OpenOptions::new().create(true).append(true).open(log(host))?;
        let mut command = shuntctl::command()?;
        command.args(host.arguments("watch")?).args(more).stderr(log);
        Ok(Watch(command.spawn().context("shuntctl")?))
    }

    /// The most that it ever had resident, in bytes.
    pub fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
    }

    /// How often it went to sleep.
    fn sleeps(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        Ok(line.context("voluntary_ctxt_switches")?.trim().parse()?)
    }

    pub fn stop(mut self) -> Result<()> {
        let pid = nix::unistd::Pid::from_raw(self.0.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        let status = self.0.wait()?;
        ensure!(status.success(), "watch ended with {status}");
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn log(host: &Host) -> PathBuf {
    host.node.dir.join("watch.log")
}

pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(2));
    }
}

/// Waits until the list of this generation has shunt's entry, and nothing else was changed in it.
/// Whatever is read until then is what somebody wrote, or the beginning of what the primary writes.
pub fn entry_is_back(host: &Host, generation: u64) -> Result<Duration> {
    let (start, primary) = (Instant::now(), host.primary(generation));
    let expected: Value = serde_json::from_str(&primary)?;
    until("shunt's entry", || {
        let text = fs::read_to_string(host.list())?;
        let Ok(mut list) = serde_json::from_str::<Value>(&text) else {
            ensure!(primary.starts_with(&text), "damaged: {text:?}");
            return Ok(None);
        };
        let plugins = list["plugins"].as_array_mut().context("plugins")?;
        let last = plugins.pop_if(|plugin| plugin["type"] == "shunt");
        let current = list == expected;
        ensure!(current || list["generation"].as_u64() < Some(generation), "damaged: {text:?}");
        Ok((last.is_some() && current).then(|| start.elapsed()))
    })
}

/// As terway's init container does: the file is truncated, and then written.
pub fn rewrite(host: &Host, generation: u64) -> Result<()> {
    let text = host.primary(generation);
    let mut list = File::create(host.list())?;
    let half = fastrand::usize(..text.len());
    list.write_all(&text.as_bytes()[..half])?;
    sleep(Duration::from_millis(fastrand::u64(..10)));
    Ok(list.write_all(&text.as_bytes()[half..])?)
}

/// The list that a runtime has: a reload that fails leaves it with what it had (go-cni).
fn reload(host: &Host, chain: &mut Chain) {
    if let Ok(new) = host.chain() {
        *chain = new;
    }
}

fn keeps_the_entry() -> Result<()> {
    let host = Host::new("keeps")?;
    host.write_primary()?;
    ensure!(host.install(&[])?.code == 0);
    let watch = Watch::start(&host, &["--sweep=10s"])?;
    let (rounds, over) = (scaled(200).max(5), AtomicBool::new(false));
    let mut chain = host.chain()?;
    let (worst, pods) = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let rewritten = (1..=rounds).map(|generation| {
                // Twice, the second time while the entry is being put back.
                rewrite(&host, generation * 2)?;
                sleep(Duration::from_micros(fastrand::u64(..4000)));
                rewrite(&host, generation * 2 + 1)?;
                let back = entry_is_back(&host, generation * 2 + 1)?;
                sleep(Duration::from_millis(250));
                Ok(back)
            });
            let worst = rewritten.collect::<Result<Vec<_>>>();
            over.store(true, Ordering::Relaxed);
            anyhow::Ok(worst?.into_iter().max().unwrap_or_default())
        });
        let mut pods = 0;
        let mut made = || -> Result<u64> {
            while !over.load(Ordering::Relaxed) {
                reload(&host, &mut chain);
                let mut pod = host.pod("pod", chain.clone())?;
                reload(&host, &mut chain);
                pod.chain = chain.clone();
                pods += 1;
            }
            Ok(pods)
        };
        let made = made();
        let worst = writer.join().map_err(|_| anyhow::anyhow!("panicked"))?;
        anyhow::Ok((worst?, made?))
    })?;
    ensure!(pods > 0);
    host.accelerates()?;
    println!(
        "{rounds} rewrites, {pods} pods meanwhile: the entry was back within {worst:?}, {} KiB resident at most",
        watch.memory()? >> 10
    );
    ensure!(watch.memory()? < LIGHT, "{} bytes resident", watch.memory()?);
    until("it rests while nothing happens", || {
        let before = watch.sleeps()?;
        sleep(Duration::from_secs(1));
        Ok((watch.sleeps()? == before).then_some(()))
    })?;
    watch.stop()
}

fn killed_and_restarted() -> Result<()> {
    let host = Host::new("killed")?;
    host.write_primary()?;
    for generation in 1..=20 {
        let mut watch = Watch::start(&host, &[])?;
        rewrite(&host, generation * 2)?;
        sleep(Duration::from_millis(fastrand::u64(..40)));
        watch.0.kill()?;
        watch.0.wait()?;
        // What is there was written by the one or the other.
        host.chain()?;
        rewrite(&host, generation * 2 + 1)?;
        let watch = Watch::start(&host, &[])?;
        entry_is_back(&host, generation * 2 + 1)?;
        drop(watch);
    }
    host.accelerates()
}

/// Somebody who takes the entry out as soon as it is there: both are alive, and slow.
fn does_not_fight() -> Result<()> {
    let host = Host::new("fight")?;
    host.write_primary()?;
    let _watch = Watch::start(&host, &[])?;
    entry_is_back(&host, 0)?;
    let told = until("a longer and longer wait", || {
        if fs::read_to_string(host.list())?.contains("shunt") {
            fs::write(host.list(), host.primary(0))?;
        }
        let log = fs::read_to_string(log(&host))?;
        Ok(log.lines().find(|line| line.ends_with("waiting 800ms")).map(str::to_owned))
    })?;
    ensure!(told.contains(LIST) && told.contains("times so far"), "{told}");
    // It does not give up.
    entry_is_back(&host, 0)?;
    Ok(())
}

fn keeps_the_binary() -> Result<()> {
    let host = Host::new("binary")?;
    host.write_primary()?;
    let _watch = Watch::start(&host, &[])?;
    entry_is_back(&host, 0)?;
    let (binary, built) = (host.bin_dir.join("shunt"), fs::read(tests::cni::shunt()?)?);
    let is_back = || {
        until("the binary", || {
            let same = fs::read(&binary).is_ok_and(|bytes| bytes == built);
            let mode = fs::metadata(&binary).map_or(0, |file| file.mode() & 0o7777);
            Ok((same && mode == 0o755).then_some(()))
        })
    };
    is_back()?;
    fs::remove_file(&binary)?;
    is_back()?;
    // While the watcher calls it, nobody can write to it.
    until("it can be written", || Ok(fs::write(&binary, "#!/bin/false").ok()))?;
    is_back()?;
    host.accelerates()
}

fn leaves_alone() -> Result<()> {
    let host = Host::new("alone")?;
    host.write_primary()?;
    let before = host.traces()?;
    let watch = Watch::start(&host, &["--sweep=1s"])?;
    entry_is_back(&host, 0)?;
    ensure!(host.uninstall()?.code == 0);
    fs::write(host.list(), host.primary(0))?;
    sleep(Duration::from_millis(1500));
    let log = log(&host);
    ensure!(fs::read_to_string(&log)?.contains("uninstalled"));
    fs::remove_file(log)?;
    ensure!(host.traces()? == before);
    // Installed again, it has its task again.
    ensure!(host.install(&[])?.code == 0);
    rewrite(&host, 1)?;
    entry_is_back(&host, 1)?;
    watch.stop()
}

fn sweeps_for_add() -> Result<()> {
    let host = Host::new("sweeps")?;
    host.write_primary()?;
    ensure!(host.install(&[])?.code == 0);
    let add = |number| {
        let pod = Bare::new(&host.node, number)?;
        pod.shunt("ADD")?;
        anyhow::Ok(pod)
    };
    let known = || anyhow::Ok(host.node.datapath()?.attachments()?.len());
    let attached = || pins::attached(&pins::folder(&host.node.pins)).len();
    let mut watch = Watch::start(&host, &["--sweep=1h"])?;
    until("it sweeps", || Ok(host.node.datapath()?.is_swept()?.then_some(())))?;
    add(0)?.lose()?;
    until("its link is detached", || Ok((attached() == 0).then_some(())))?;
    let _one = add(1)?;
    ensure!(known()? == 2, "ADD has swept");
    // It leaves nothing that would keep ADD from it.
    watch.0.kill()?;
    watch.0.wait()?;
    let more = (2..2 + EVERY as u32).map(add).collect::<Result<Vec<_>>>()?;
    let live = 1 + more.len();
    ensure!(known()? == live, "ADD has not swept");
    let watch = Watch::start(&host, &["--sweep=1s"])?;
    add(100)?.lose()?;
    until("it has swept", || Ok((known()? == live).then_some(())))?;
    watch.stop()
}
