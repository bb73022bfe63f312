//! Whether a process is a JDK that loses nothing by EAGAIN where it sleeps in recv(2).

use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

/// From here on `NioSocketImpl` takes EAGAIN for "wait for POLLIN" (JEP 353). Before it is an exception.
const TOLERANT: u32 = 13;
/// Bytes of the file that are looked at.
const MOST: u64 = 4096;

/// By the `release` file of its JDK. That file is the pod's: a lie in it harms only the pod.
pub fn takes_eagain(process: &Path) -> bool {
    release(process).as_deref().and_then(version).is_some_and(|version| version >= TOLERANT)
}

/// Where `bin/java` is in `release` is, as the process has it.
fn release(process: &Path) -> Option<String> {
    let java = fs::read_link(process.join("exe")).ok()?;
    let path = java.parent()?.parent()?.join("release");
    let root =
        rustix::fs::open(process.join("root"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    // Not blocked by a pipe, and never out of its root.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file: File = openat2(root.ok()?, path, flags, Mode::empty(), within).ok()?.into();
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// The feature release of `JAVA_VERSION="17.0.9"`. Up to 8 it was the second number: those give 1.
fn version(release: &str) -> Option<u32> {
    let value = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    let digits = value.trim_start_matches('"');
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_are_read() {
        for (line, is) in [
            ("JAVA_VERSION=\"17.0.9\"\n", Some(17)),
            ("IMPLEMENTOR=\"x\"\nJAVA_VERSION=\"25\"\n", Some(25)),
            ("JAVA_VERSION=\"1.8.0_392\"\n", Some(1)),
            ("JAVA_VERSION=\"11.0.2\"\n", Some(11)),
            ("JAVA_VERSION=\"\"\n", None),
            ("JAVA_RUNTIME_VERSION=\"17\"\n", None),
        ] {
            assert_eq!(version(line), is, "{line}");
        }
    }
}
