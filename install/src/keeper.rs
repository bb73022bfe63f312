//! What `watch` does each time it wakes: looks whether shunt is where it should be, and puts it back.

use std::{
    collections::HashMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use crate::{
    change::{Change, Replaced},
    claim::{Claimed, Purpose},
    conflist::Conf,
    entry::{Beside, Wanted},
    net_d::Reader,
    rewrites::Rewrites,
    world::World,
};

/// How long somebody may write into a file that was replaced meanwhile, and how often to look.
const ORPHANED: Duration = Duration::from_secs(3);
pub const LOOK: Duration = Duration::from_millis(100);
/// After trouble of which nothing may tell that it is over, as of a file system that was read-only.
const RETRY: Duration = Duration::from_secs(5);

/// What is remembered from one look to the next.
pub struct Keeper {
    /// The entry that was last seen, or is wanted.
    pub wanted: Wanted,
    rewrites: HashMap<PathBuf, Rewrites>,
    replaced: Vec<(Instant, Replaced)>,
    /// How often an entry, and the binary, was put back.
    pub put_back: u64,
    pub restored: u64,
}

/// How shunt was found.
pub enum Kept {
    Well,
    Trouble(String),
    /// Another shuntctl is at work, and will leave it well or say why not.
    Busy,
}

impl Keeper {
    pub fn new(wanted: Wanted) -> Self {
        Self {
            wanted: Wanted { beside: Beside::Kept, ..wanted },
            rewrites: HashMap::new(),
            replaced: Vec::new(),
            put_back: 0,
            restored: 0,
        }
    }

    /// Puts right what is not, and shortens `pause` to when it is to look again if nothing happens.
    /// `binary` tells whether the binary has to be looked at.
    pub fn keep<W: World>(
        &mut self,
        node: &W,
        reader: &Reader,
        pause: &mut Duration,
        binary: bool,
    ) -> Kept {
        let kept = match node.claim(Purpose::Keep) {
            Ok(Claimed::Held(claim)) => {
                let claim = Some(&claim).filter(|_| binary);
                let kept = self.keep_claimed(node, reader, pause, claim);
                if kept.is_err() {
                    *pause = RETRY.min(*pause);
                }
                kept
            }
            Ok(Claimed::Busy) => {
                *pause = LOOK.min(*pause);
                return Kept::Busy;
            }
            Ok(Claimed::Unwanted) => {
                Err(anyhow!("shunt was uninstalled; nothing is kept any more"))
            }
            Err(error) => Err(error),
        };
        match kept {
            Ok(()) => Kept::Well,
            Err(error) => Kept::Trouble(format!("{error:#}")),
        }
    }

    fn keep_claimed<W: World>(
        &mut self,
        node: &W,
        reader: &Reader,
        pause: &mut Duration,
        binary: Option<&W::Claim>,
    ) -> Result<()> {
        if let Some(claim) = binary {
            if node.place(claim)? {
                log::info!("the plugin was not in its place, or not as it should be; put back");
                self.restored += 1;
            }
            node.remember(claim)?;
        }
        self.look_after_replaced(node)?;
        let kept = self.keep_entry(node, reader, pause);
        if !self.replaced.is_empty() {
            *pause = LOOK.min(*pause);
        }
        kept
    }

    fn keep_entry(
        &mut self,
        node: &impl World,
        reader: &Reader,
        pause: &mut Duration,
    ) -> Result<()> {
        let plan = reader.install(node, &self.wanted)?;
        // What is to be put back is what was there.
        self.wanted.entry = plan.entry;
        let mut trouble = Ok(());
        for change in plan.changes {
            let now = node.now();
            let rewrites = self.rewrites.entry(change.path.clone()).or_default();
            let known = rewrites.count;
            let due = rewrites.due(now);
            let (path, count, waits) = (change.path.display(), rewrites.count, rewrites.pause());
            if rewrites.is_fight() && count > known {
                log::warn!(
                    "{path} is rewritten whenever shunt's entry is back, {count} times so far; waiting {waits:?}"
                );
            }
            if due > now {
                *pause = (due - now).min(*pause);
                trouble = Err(anyhow!("{path} lacks shunt's entry"));
                continue;
            }
            match node.make(&change) {
                Ok(replaced) => {
                    rewrites.put_back(now);
                    log::info!("{path} was without shunt's entry; put back ({count} times so far)");
                    self.replaced.extend(replaced.map(|replaced| (now, replaced)));
                    self.put_back += 1;
                }
                Err(error) => {
                    *pause = LOOK.min(*pause);
                    trouble = Err(error);
                }
            }
        }
        trouble
    }

    /// Who truncates and copies, opens the file and then writes. If the entry was put back in
    /// between, what was written is in a file without a name: it is what should be there.
    fn look_after_replaced(&mut self, node: &impl World) -> Result<()> {
        let mut kept = Vec::new();
        for (since, replaced) in std::mem::take(&mut self.replaced) {
            let text = String::from_utf8(replaced.read()?).unwrap_or_default();
            if replaced.was_written()? && Conf::parse(&text).is_ok() {
                let path = replaced.path.clone();
                log::info!("{} was being written when shunt's entry was put back", path.display());
                let before = node.read(&path)?.and_then(|bytes| String::from_utf8(bytes).ok());
                node.make(&Change { like: path.clone(), path, before, after: Some(text) })?;
            } else if node.now() - since < ORPHANED {
                kept.push((since, replaced));
            }
        }
        self.replaced = kept;
        Ok(())
    }
}
