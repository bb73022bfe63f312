//! A node where pods come and go, and the plugin is killed in the middle of its work.

use crate::scale::scaled;
use anyhow::{Context as _, Result, anyhow, ensure};
use libtest_mimic::Trial;
use shim::{
    cgroup::Cgroup,
    layout::{Address, PodId, name, text},
    pins,
};
use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tests::{bare::Bare, cni, node::Node, task::PATIENCE, trial};

pub fn tests() -> Vec<Trial> {
    vec![trial("churn::killed_at_random_moments", killed_at_random_moments)]
}

/// One of so many calls is killed, at a moment within this time.
const KILLED: u32 = 3;
const WITHIN: Duration = Duration::from_millis(40);

/// A pod that gets a new sandbox where its network failed.
struct Pod {
    number: u32,
    bare: Bare,
    /// How many sandboxes it has had.
    sandboxes: u32,
}

impl Pod {
    fn new(node: &Node, number: u32) -> Result<Self> {
        Ok(Self { number, bare: Bare::new(node, number)?, sandboxes: 0 })
    }

    /// As a kubelet: a sandbox whose network failed is deleted, and another one made.
    fn add(&mut self) -> Result<()> {
        while !self.call("ADD")? {
            self.del()?;
            self.sandboxes += 1;
            self.bare.call.container_id = format!("{:x}-{}", self.number, self.sandboxes);
        }
        Ok(())
    }

    /// A runtime repeats it until it succeeds.
    fn del(&self) -> Result<()> {
        while !self.call("DEL")? {}
        Ok(())
    }

    /// False: it was killed.
    fn call(&self, verb: &str) -> Result<bool> {
        let mut child = Command::new(cni::shunt()?)
            .env_clear()
            .envs(self.bare.call.env(verb))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        child.stdin.take().context("stdin")?.write_all(self.bare.conf()?.as_bytes())?;
        if fastrand::u32(0..KILLED) == 0 {
            thread::sleep(WITHIN.mul_f64(fastrand::f64()));
            child.kill()?;
        }
        let output = child.wait_with_output()?;
        if output.status.code().is_none() {
            return Ok(false);
        }
        // What was killed after it had answered is a success too.
        cni::answer(&output).map(|_| true)
    }

    /// One of so many is never deleted by its runtime: the node's lost it.
    fn remove(self) -> Result<()> {
        if fastrand::u32(0..4) > 0 {
            self.del()?;
        } else {
            self.call("DEL")?;
        }
        self.bare.lose()
    }
}

fn killed_at_random_moments() -> Result<()> {
    let node = Node::new("churn")?;
    let (pods, callers) = (scaled(500) as u32, scaled(8).max(2) as u32);
    // Loads the programs. Emulated, that takes longer than others wait for the lock.
    let mut first = Pod::new(&node, pods)?;
    first.add().context("first pod")?;
    // Each caller deletes half of what it has added, in between.
    let work = |caller: u32| -> Result<Vec<Pod>> {
        let mut live: Vec<Pod> = Vec::new();
        for number in (caller..pods).step_by(callers as usize) {
            let mut pod = Pod::new(&node, number)?;
            pod.add().with_context(|| format!("pod {number}"))?;
            live.push(pod);
            if number % 2 == 0 {
                let gone = live.swap_remove(fastrand::usize(..live.len()));
                gone.remove().with_context(|| format!("delete, after pod {number}"))?;
            }
        }
        Ok(live)
    };
    let live = thread::scope(|scope| {
        let callers: Vec<_> =
            (0..callers).map(|caller| scope.spawn(move || work(caller))).collect();
        let done = callers.into_iter().map(|it| it.join().map_err(|_| anyhow!("panicked"))?);
        done.collect::<Result<Vec<_>>>()
    })?;
    let live: Vec<_> = live.into_iter().flatten().chain([first]).collect();
    let ids: BTreeMap<PodId, &Pod> = live
        .iter()
        .map(|pod| Ok((Cgroup::open(&pod.bare.cgroup)?.id, pod)))
        .collect::<Result<_>>()?;

    // The kernel detaches a removed cgroup's links a little later.
    let deadline = Instant::now() + PATIENCE;
    let folder = pins::folder(&node.pins);
    while pins::attached(&folder).len() > ids.len() {
        ensure!(Instant::now() < deadline, "pods that are gone are still attached");
        thread::sleep(Duration::from_millis(10));
    }
    let mut datapath = node.datapath()?;
    datapath.sweep()?;
    for (id, pod) in &ids {
        let number = pod.number;
        ensure!(datapath.is_attached(*id)?, "pod {number} is not attached");
        ensure!(datapath.pod(*id)?.is_some(), "pod {number} has no entry");
    }
    let mut known: Vec<PodId> = datapath.pods()?.into_iter().map(|(id, _)| id).collect();
    known.sort_unstable();
    ensure!(known == ids.keys().copied().collect::<Vec<_>>(), "{} pods", known.len());
    let addresses = datapath.pod_ips()?;
    ensure!(addresses.len() == ids.len(), "{} addresses of {} pods", addresses.len(), ids.len());
    for (address, owner) in addresses {
        let pod = ids.get(&owner.pod).context("an address of a pod that is gone")?;
        ensure!(address == Address::from(pod.bare.ip), "pod {} has another's address", pod.number);
    }
    let attachments = datapath.attachments()?;
    ensure!(attachments.len() == ids.len(), "{} attachments", attachments.len());
    for (attachment, attached) in attachments {
        let pod = ids.get(&attached.pod).context("an attachment of a pod that is gone")?;
        ensure!(text(&attachment.container_id) == pod.bare.call.container_id, "pod {}", pod.number);
    }
    for links in [name::LINKS, name::GUARDS] {
        let pins = fs::read_dir(node.pin(links))?.count();
        ensure!(pins == ids.len(), "{pins} pins in {links} for {} pods", ids.len());
    }
    Ok(())
}
