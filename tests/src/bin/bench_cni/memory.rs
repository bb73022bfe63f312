//! `shuntctl watch`, and what it has in memory.

use anyhow::{Context as _, Result, ensure};
use std::{
    fs::{self, File},
    process::Child,
    thread::sleep,
    time::{Duration, Instant},
};
use tests::{cni, node::Node, shuntctl};

/// `shuntctl watch` of a node. Ends on drop.
pub struct Watch(Child);

impl Watch {
    /// Started, and has swept.
    pub fn start(node: &Node) -> Result<Self> {
        let [net_dir, bin_dir] = ["net.d", "bin"].map(|name| node.dir.join(name));
        fs::create_dir_all(&net_dir)?;
        fs::create_dir_all(&bin_dir)?;
        let mut command = shuntctl::command()?;
        command.arg("watch").stderr(File::create(node.dir.join("watch.log"))?);
        for (option, path) in [
            ("--net-dir", &net_dir),
            ("--bin-dir", &bin_dir),
            ("--pin-path", &node.pins),
            ("--lock-file", &node.lock),
            ("--binary", &cni::shunt()?),
        ] {
            command.arg(option).arg(path);
        }
        let watch = Self(command.spawn().context("shuntctl")?);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !node.datapath()?.is_swept()? {
            let log = || fs::read_to_string(node.dir.join("watch.log")).unwrap_or_default();
            ensure!(Instant::now() < deadline, "watch does not sweep: {}", log());
            sleep(Duration::from_millis(2));
        }
        Ok(watch)
    }

    /// The most that it ever had resident, in bytes.
    pub fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
