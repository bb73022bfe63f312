//! The plugin's binary: put where the runtime finds it, and asked what it takes.

use std::{
    env,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, ErrorKind, Seek as _, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use rustix::fs::{MemfdFlags, StatVfsMountFlags, memfd_create, statvfs};
use serde_json::{Value, json};

use crate::{
    attributes::Attributes,
    conflist::SHUNT,
    replace::{Before, replace, whose},
};

const ANNOTATION: &[u8] = b"shunt/accelerate";
/// How long it may take to answer: it has nothing to wait for.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, clap::Args)]
pub struct Binary {
    /// The plugin to install [default: shunt, beside shuntctl]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

impl Binary {
    /// # Errors
    /// There is none.
    pub fn path(&self) -> Result<PathBuf> {
        let path = match &self.binary {
            Some(path) => path.clone(),
            None => env::current_exe()?.with_file_name(SHUNT),
        };
        ensure!(path.is_file(), "{} is not there: give --binary", path.display());
        Ok(path)
    }
}

/// Copies the file of that fingerprint to the folder, unless the same lies there and can be run; it is
/// called before it takes its place, and what does not run never does. Whether that was needed.
///
/// # Errors
/// It does not run there, or of reading or writing; what was there is then still there.
pub fn place(source: &Path, own: &str, folder: &Path) -> Result<bool> {
    let (target, attributes) = (folder.join(SHUNT), Attributes::of_root(0o755));
    let is_it = |file: fs::Metadata| file.is_file() && attributes.are_those_of(&file);
    let same =
        fs::metadata(&target).is_ok_and(is_it) && fingerprint(&target).is_ok_and(|it| it == own);
    if same {
        return versions(&target).map(|_| false);
    }
    let place = || {
        // Not into memory: `watch` is to stay small.
        let source = File::open(source)?;
        replace(&target, source, &attributes, Before::Anything, |new| versions(new).map(drop))
    };
    let placed = place().map_err(|error| whose(error, &target).context("cannot place the plugin"));
    placed.map(|()| true)
}

/// Whether another's program lies there: no build of shunt is without the name of its annotation, nor a
/// link to nowhere. A file without bytes is what a full disk makes of any.
///
/// # Errors
/// Of reading it.
pub fn is_anothers(file: &Path) -> io::Result<bool> {
    let bytes = match fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(file.is_symlink()),
        bytes => bytes?,
    };
    Ok(!bytes.is_empty() && !bytes.windows(ANNOTATION.len()).any(|at| at == ANNOTATION))
}

/// Of a file's bytes: FNV-1a, 64 bits, by which two builds are told apart. A block at a time, as
/// `watch` is to stay small.
///
/// # Errors
/// Of reading it.
pub fn fingerprint(file: &Path) -> io::Result<String> {
    let (mut file, mut hash) = (BufReader::new(File::open(file)?), 0xcbf2_9ce4_8422_2325_u64);
    loop {
        let block = file.fill_buf()?;
        if block.is_empty() {
            return Ok(format!("{hash:016x}"));
        }
        for byte in block {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
        let read = block.len();
        file.consume(read);
    }
}

/// The versions of CNI that it speaks.
///
/// # Errors
/// It does not run on this node, or is no CNI plugin.
pub fn versions(binary: &Path) -> Result<Vec<String>> {
    let answer = call(binary, "VERSION", &Value::Null)?;
    let versions = answer["supportedVersions"].clone();
    serde_json::from_value(versions)
        .with_context(|| format!("{} is no CNI plugin: {answer}", binary.display()))
}

/// Has the plugin read its entry: what it does not take would fail every pod.
///
/// # Errors
/// The plugin's own.
pub fn check_entry(binary: &Path, entry: &Value) -> Result<()> {
    let mut conf = entry.clone();
    conf["cniVersion"] = json!("1.0.0");
    conf["name"] = json!("shuntctl");
    conf["prevResult"] = json!({});
    if conf["logFile"].as_str().is_some_and(|path| path.starts_with('/')) {
        conf["logFile"] = json!("/dev/stderr");
    }
    // CHECK of a pod that was never added reads the whole conf, and then has nothing to do.
    call(binary, "CHECK", &conf).map(drop)
}

/// execve(2) tells of a mount as of a missing right.
fn no_exec(binary: &Path) -> Option<anyhow::Error> {
    let is_set = statvfs(binary).ok()?.f_flag.contains(StatVfsMountFlags::NOEXEC);
    is_set
        .then(|| anyhow!("it is on a file system that is mounted noexec: no plugin there can run"))
}

fn call(binary: &Path, verb: &str, conf: &Value) -> Result<Value> {
    let name = || binary.display().to_string();
    // A plugin may end without reading it, or never read it.
    let mut stdin = File::from(memfd_create("conf", MemfdFlags::CLOEXEC)?);
    stdin.write_all(conf.to_string().as_bytes())?;
    stdin.rewind()?;
    let mut child = Command::new(binary)
        .env_clear()
        .envs([("CNI_COMMAND", verb), ("CNI_CONTAINERID", "shuntctl"), ("CNI_IFNAME", "eth0")])
        .env("CNI_NETNS", "/proc/self/ns/net")
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => no_exec(binary).unwrap_or_else(|| error.into()),
            _ => error.into(),
        })
        .with_context(name)?;
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() && Instant::now() < deadline {
        sleep(Duration::from_millis(1));
    }
    let is_late = child.try_wait()?.is_none();
    // What it has started would hold its output open.
    let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
    let output = child.wait_with_output().with_context(name)?;
    if is_late {
        bail!("{}: {verb} was not answered within {PATIENCE:?}", name());
    }
    String::from_utf8_lossy(&output.stderr).lines().for_each(|line| log::info!("{line}"));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    ensure!(output.status.success(), "{}: {}", name(), answer["msg"].as_str().unwrap_or("failed"));
    Ok(answer)
}
