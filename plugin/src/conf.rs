//! The network configuration that a runtime writes to stdin: CNI's keys and shunt's own.

use std::{
    collections::HashMap,
    fmt,
    io::Read,
    num::{NonZeroU16, NonZeroU32},
    path::PathBuf,
};

use log::LevelFilter;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, value::RawValue};
use shim::layout::{MAX_EXCLUDED_PORTS, MAX_PROGRAM, Watch, padded};

use crate::{
    env::{Verb, is_identifier},
    error::{Code, Error},
    node_proxy::NodeProxy,
    service_cidrs::ServiceCidrs,
    version,
};

/// Bytes. What runtimes write is some kilobytes long: prevResult with its routes, annotations.
const STDIN_LIMIT: u64 = 4 << 20;

/// Keys of the specification that no verb of shunt reads.
const OTHERS: [&str; 6] = ["type", "cniVersions", "capabilities", "args", "dns", "ipam"];

/// Keys of former versions.
const GONE: [&str; 2] = ["proxyPorts", "proxyUid"];

/// What the conflist says; conf/README.md tells what each key means.
pub struct Conf<'a> {
    pub network: String,
    prev_result: Option<&'a RawValue>,
    pub runtime: RuntimeConfig,
    /// None: the runtime did not say which are.
    pub valid_attachments: Option<Vec<ValidAttachment>>,
    pub accelerate: Switch,
    /// Bytes.
    pub queue_limit: u32,
    /// Seconds; 0: never.
    pub heartbeat: u32,
    /// For pods with a bandwidth limit.
    pub accelerate_limited: Switch,
    pub excluded_namespaces: Vec<String>,
    pub excluded_ports: ExcludedPorts,
    pub service_cidrs: ServiceCidrs,
    /// Take part in excluded namespaces too.
    pub node_proxies: Vec<NodeProxy>,
    /// Whether sockets that sleep in recv(2) take part.
    pub blocking: Switch,
    /// Counts when the node's programs are loaded.
    pub mode: Mode,
    pub watch: WatchConf,
    pub trusted_programs: Vec<ProgramName>,
    pub polling_programs: Vec<ProgramName>,
    pub mptcp: Mptcp,
    pub log_file: Option<Absolute>,
    pub log_level: LevelFilter,
    pub pin_path: Absolute,
    /// None: where cgroup2 is mounted.
    pub cgroup_root: Option<Absolute>,
    pub lock_file: Absolute,
    /// For the log, once it is open.
    pub warnings: Vec<String>,
}

/// Goes to the next plugin as it came: byte for byte.
#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, rename = "prevResult")]
    prev_result: Option<&'a RawValue>,
}

/// What the runtime knows of the pod, by the capabilities that the conflist declares.
#[derive(Default, Deserialize)]
pub struct RuntimeConfig {
    #[serde(rename = "cgroupPath")]
    pub cgroup_path: Option<String>,
    #[serde(rename = "io.kubernetes.cri.pod-annotations")]
    pub annotations: Option<HashMap<String, String>>,
    pub bandwidth: Option<Bandwidth>,
}

/// What the reference plugin of that name enforces; bits per second, 0 for no limit.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Bandwidth {
    pub ingress_rate: u64,
    pub egress_rate: u64,
}

#[derive(Deserialize)]
pub struct ValidAttachment {
    #[serde(rename = "containerID")]
    pub container_id: String,
    pub ifname: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    On,
    Off,
}

/// Longer than a day is nobody's wish, and jiffies have room for it.
#[derive(Deserialize)]
#[serde(try_from = "u32")]
pub struct Heartbeat(pub u32);

impl TryFrom<u32> for Heartbeat {
    type Error = String;
    fn try_from(seconds: u32) -> Result<Self, String> {
        match seconds {
            0..=86_400 => Ok(Heartbeat(seconds)),
            _ => Err(format!("{seconds} seconds are more than a day")),
        }
    }
}

/// Whether connections take the short way, or are only looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Accelerate,
    Observe,
}

/// How programs are watched; counts when the node's programs are loaded.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WatchConf {
    /// As the kernel can.
    #[default]
    Auto,
    Fentry,
    Kprobe,
    Syscalls,
    Names,
}

impl WatchConf {
    /// None: as the kernel can.
    pub fn way(self) -> Option<Watch> {
        match self {
            Self::Auto => None,
            Self::Fentry => Some(Watch::Fentry),
            Self::Kprobe => Some(Watch::Kprobe),
            Self::Syscalls => Some(Watch::Syscalls),
            Self::Names => Some(Watch::Names),
        }
    }
}

/// Whether captured pods find MPTCP where this kernel could not bear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mptcp {
    Refuse,
    Leave,
}

/// What the kernel calls a process (comm): at most 15 bytes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct ProgramName(pub [u8; MAX_PROGRAM]);

impl TryFrom<String> for ProgramName {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        let is_name = !name.is_empty() && !name.bytes().any(|byte| byte == 0);
        let padded = is_name.then(|| padded(name.as_bytes())).flatten();
        let longest = MAX_PROGRAM - 1;
        padded.map(ProgramName).ok_or_else(|| {
            format!("{name:?} is no name of a process: 1 to {longest} bytes, see /proc/PID/comm")
        })
    }
}

impl ProgramName {
    /// Seen to read by recv(2) alone, and never to sleep there.
    fn defaults() -> Vec<Self> {
        [&b"envoy"[..], b"ztunnel"].into_iter().filter_map(padded).map(Self).collect()
    }
}

#[derive(Default, Deserialize)]
#[serde(try_from = "Vec<NonZeroU16>")]
pub struct ExcludedPorts(pub [u16; MAX_EXCLUDED_PORTS]);

impl TryFrom<Vec<NonZeroU16>> for ExcludedPorts {
    type Error = String;
    fn try_from(ports: Vec<NonZeroU16>) -> Result<Self, String> {
        if ports.len() > MAX_EXCLUDED_PORTS {
            return Err(format!("more than {MAX_EXCLUDED_PORTS} ports"));
        }
        let mut ports = ports.into_iter().map(NonZeroU16::get);
        Ok(ExcludedPorts([(); _].map(|()| ports.next().unwrap_or(0))))
    }
}

/// The working directory of a plugin is the runtime's affair.
#[derive(Deserialize)]
#[serde(try_from = "PathBuf")]
pub struct Absolute(pub PathBuf);

impl TryFrom<PathBuf> for Absolute {
    type Error = String;
    fn try_from(path: PathBuf) -> Result<Self, String> {
        match path.is_absolute() {
            true => Ok(Absolute(path)),
            false => Err(format!("{path:?} is not an absolute path")),
        }
    }
}

/// # Errors
/// Code 5 where stdin cannot be read, 6 where it is longer than any configuration.
pub fn read(stdin: impl Read) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = stdin.take(STDIN_LIMIT + 1).read_to_end(&mut bytes);
    read.map_err(|error| Error::new(Code::Io, "cannot read stdin").because(error))?;
    if bytes.len() as u64 > STDIN_LIMIT {
        return Err(undecodable(format!("longer than {STDIN_LIMIT} bytes")));
    }
    Ok(bytes)
}

impl<'a> Conf<'a> {
    /// `cni_version` becomes the configuration's as soon as that is known.
    ///
    /// # Errors
    /// Code 1, 6 or 7. Shunt's own keys are checked for ADD and CHECK only, else they warn: a conflist
    /// that someone spoiled must not make pods undeletable, nor the node NotReady.
    pub fn parse(
        stdin: &'a [u8],
        verb: Verb,
        cni_version: &mut &'static str,
    ) -> Result<Conf<'a>, Error> {
        let mut keys = Keys {
            keys: serde_json::from_slice(stdin).map_err(undecodable)?,
            strict: true,
            warnings: Vec::new(),
        };
        keys.keys.remove("prevResult");
        let raw: Raw = serde_json::from_slice(stdin).map_err(undecodable)?;

        let network: String = keys.take("name")?.unwrap_or_default();
        if !is_identifier(&network) {
            return Err(invalid("name", format!("{network:?} is no network name")));
        }
        // A configuration without it is of the time before there was the key.
        let version: String = keys.take("cniVersion")?.unwrap_or("0.1.0".into());
        let spoken = version::of_verb(verb);
        *cni_version = spoken.iter().find(|v| **v == version).ok_or_else(|| {
            let msg = format!("incompatible CNI version {version:?}");
            let spoken = spoken.join(", ");
            Error::new(Code::IncompatibleVersion, msg).because(format!("for {verb}: {spoken}"))
        })?;

        // Older libraries know only the second name. With no attachment left they write null.
        let names = ["cni.dev/valid-attachments", "cni.dev/attachments"];
        let told = names.iter().any(|name| keys.keys.contains_key(*name));
        let [valid, older] = names.map(|name| keys.take(name));
        let valid_attachments = told.then_some(valid?.or(older?).unwrap_or_default());

        keys.strict = matches!(verb, Verb::Add | Verb::Check);
        for key in GONE {
            if keys.keys.remove(key).is_some_and(|value| !value.is_null()) {
                keys.warnings.push(format!(
                    "`{key}` means nothing any more: captured connections are \
                                            known by themselves"
                ));
            }
        }
        let queue_limit: Option<NonZeroU32> = keys.take("queueLimit")?;
        let mut conf = Conf {
            network,
            prev_result: raw.prev_result,
            valid_attachments,
            runtime: keys.take("runtimeConfig")?.unwrap_or_default(),
            accelerate: keys.take("accelerate")?.unwrap_or(Switch::On),
            queue_limit: queue_limit.map_or(8 << 20, NonZeroU32::get),
            heartbeat: keys.take("heartbeat")?.map_or(10, |Heartbeat(seconds)| seconds),
            accelerate_limited: keys.take("accelerateLimited")?.unwrap_or(Switch::Off),
            excluded_namespaces: keys.take("excludedNamespaces")?.unwrap_or_default(),
            excluded_ports: keys.take("excludedPorts")?.unwrap_or_default(),
            service_cidrs: keys.take("serviceCIDRs")?.unwrap_or_default(),
            node_proxies: keys.take("nodeProxies")?.unwrap_or_default(),
            blocking: keys.take("blocking")?.unwrap_or(Switch::Off),
            mode: keys.take("mode")?.unwrap_or(Mode::Accelerate),
            watch: keys.take("watch")?.unwrap_or_default(),
            trusted_programs: keys.take("trustedPrograms")?.unwrap_or_else(ProgramName::defaults),
            polling_programs: keys.take("pollingPrograms")?.unwrap_or_default(),
            mptcp: keys.take("mptcp")?.unwrap_or(Mptcp::Refuse),
            log_file: keys.take("logFile")?,
            log_level: keys.take("logLevel")?.unwrap_or(LevelFilter::Info),
            pin_path: keys.take("pinPath")?.unwrap_or(Absolute(shim::paths::PINS.into())),
            cgroup_root: keys.take("cgroupRoot")?,
            lock_file: keys.take("lockFile")?.unwrap_or(Absolute(shim::paths::LOCK.into())),
            warnings: keys.warnings,
        };
        let unknown =
            keys.keys.into_iter().map(|(key, _)| key).filter(|key| !OTHERS.contains(&key.as_str()));
        let warnings = unknown.map(|key| format!("unknown key `{key}`"));
        conf.warnings.extend(warnings);
        Ok(conf)
    }
}

impl Conf<'_> {
    /// # Errors
    /// Code 7: there is none, so shunt is not behind another plugin, or CHECK comes without ADD.
    pub fn prev_result(&self) -> Result<&RawValue, Error> {
        let object = self.prev_result.filter(|raw| raw.get().starts_with('{'));
        object.ok_or_else(|| invalid("prevResult", "missing, or no object"))
    }
}

/// The configuration's keys that were not taken yet.
struct Keys {
    keys: Map<String, Value>,
    strict: bool,
    warnings: Vec<String>,
}

impl Keys {
    /// None where the key is missing or null, which means the same to CNI's own library.
    fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, Error> {
        let Some(value) = self.keys.remove(key) else {
            return Ok(None);
        };
        Deserialize::deserialize(value).or_else(|error| {
            let error = invalid(key, error);
            if self.strict {
                return Err(error);
            }
            self.warnings.push(error.to_string());
            Ok(None)
        })
    }
}

fn undecodable(why: impl fmt::Display) -> Error {
    Error::new(Code::Undecodable, "cannot decode the network configuration").because(why)
}

/// An error about one key of the configuration.
pub fn invalid(key: &str, why: impl fmt::Display) -> Error {
    Error::new(Code::InvalidConfig, format!("invalid `{key}`: {why}"))
}
