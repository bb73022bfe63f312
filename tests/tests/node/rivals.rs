//! Others who install plugins on the same node.

use super::{is_run_by_libcni, named};
use crate::install::{
    host::Host,
    metrics::get,
    watch::{Watch, until},
};
use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::symlink,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread::{scope, sleep},
    time::Duration,
};

pub fn tests() -> Vec<Trial> {
    vec![named("two_installers", two_installers)]
}

/// Another's plugin, which does nothing.
const OTHER: &str = "tuning";

/// The text with the other's entry in the last place. None: it is there.
fn at_the_end(text: &str) -> Result<Option<String>> {
    let mut list: Value = serde_json::from_str(text)?;
    let plugins = list["plugins"].as_array_mut().context("plugins")?;
    if plugins.last().is_some_and(|last| last["type"] == OTHER) {
        return Ok(None);
    }
    plugins.retain(|plugin| plugin["type"] != OTHER);
    plugins.push(json!({"type": OTHER}));
    Ok(Some(list.to_string()))
}

/// Each wants its own entry in the list; the other insists on the last place.
fn two_installers() -> Result<()> {
    let host = Host::new("rivals")?;
    symlink(tests::cni::find(OTHER)?, host.bin_dir.join(OTHER))?;
    host.write_primary()?;
    let (over, writes) = (AtomicBool::new(false), AtomicU32::new(0));
    scope(|scope| {
        let other = scope.spawn(|| -> Result<()> {
            while !over.load(Ordering::Relaxed) {
                let text = fs::read_to_string(host.list())?;
                if let Ok(Some(moved)) = at_the_end(&text) {
                    let new = host.net_dir.join("new");
                    fs::write(&new, moved)?;
                    fs::rename(new, host.list())?;
                    writes.fetch_add(1, Ordering::Relaxed);
                }
                sleep(Duration::from_millis(5));
            }
            Ok(())
        });
        let tested = (|| {
            let watch = Watch::start(&host, &["--metrics=127.0.0.1:9477"])?;
            let healthy = || Ok(get("/healthz").ok().filter(|it| it.contains("200 OK")).map(drop));
            until("health", healthy)?;
            // A primary that writes its list anew makes them begin anew.
            for _ in 0..3 {
                host.write_primary()?;
                let both = || -> Result<_> {
                    let text = fs::read_to_string(host.list())?;
                    Ok((text.contains("\"shunt\"") && text.contains(OTHER)).then_some(()))
                };
                until("both entries", both)?;
                sleep(Duration::from_millis(300));
                let before = writes.load(Ordering::Relaxed);
                sleep(Duration::from_secs(1));
                ensure!(writes.load(Ordering::Relaxed) == before, "they do not settle");
                ensure!(healthy()?.is_some(), "{}", get("/healthz")?);
                is_run_by_libcni(&host)?;
            }
            ensure!(writes.load(Ordering::Relaxed) < 20, "{writes:?} writes");
            watch.stop()
        })();
        over.store(true, Ordering::Relaxed);
        other.join().map_err(|_| anyhow::anyhow!("panicked"))??;
        tested
    })?;
    ensure!(host.uninstall()?.code == 0);
    super::is_gone(&host)
}
