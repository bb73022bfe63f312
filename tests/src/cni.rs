//! A chain of CNI plugins, called as libcni calls them for a runtime.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{
    env,
    ffi::OsStr,
    fmt,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

/// Where distributions put containernetworking-plugins.
const PLUGIN_DIRS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// A conflist.
#[derive(Clone, Debug)]
pub struct Chain {
    pub name: String,
    /// `cniVersion` of the conflist.
    pub version: String,
    /// The plugins' confs (objects), in the order of ADD.
    pub plugins: Vec<Value>,
    /// Where shunt is called from; else it is the one that was built.
    pub bin_dir: Option<PathBuf>,
}

/// What a runtime says about one attachment.
#[derive(Clone, Debug, Default)]
pub struct Call {
    pub container_id: String,
    /// Path of the network namespace; empty as a runtime has it at a DEL after a reboot.
    pub netns: String,
    pub ifname: String,
    /// CNI_ARGS: `KEY=VALUE;KEY=VALUE`.
    pub args: String,
    /// What the runtime knows, by capability. A plugin gets what its conf's `capabilities` declare.
    pub runtime_config: Map<String, Value>,
}

/// A plugin's error object (CNI spec, section "Error").
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Failure {
    pub code: u32,
    pub msg: String,
    #[serde(default)]
    pub details: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "CNI error {}: {} {}", self.code, self.msg, self.details)
    }
}

impl std::error::Error for Failure {}

impl Chain {
    /// # Errors
    /// It is no conflist's text.
    pub fn parse(text: &str) -> Result<Chain> {
        let list: Value = serde_json::from_str(text)?;
        let field = |key| list[key].as_str().map(str::to_owned).context(key);
        let plugins = list["plugins"].as_array().context("plugins")?.clone();
        let (name, version) = (field("name")?, field("cniVersion")?);
        Ok(Chain { name, version, plugins, bin_dir: None })
    }

    /// ADD through the chain, each plugin with the result of the one before it.
    ///
    /// # Errors
    /// [`Failure`] of the first plugin that failed (by downcast); or a plugin is missing.
    pub fn add(&self, call: &Call) -> Result<Value> {
        let mut result = None;
        for plugin in &self.plugins {
            let answer = self.exec("ADD", plugin, call, result.as_ref())?;
            result = Some(answer.context("ADD printed nothing")?);
        }
        result.context("an empty chain")
    }

    /// DEL backwards through the chain, each plugin with ADD's result, as far as a runtime has it
    /// (CNI 0.4.0 and later).
    ///
    /// # Errors
    /// As [`Chain::add`].
    pub fn del(&self, call: &Call, result: Option<&Value>) -> Result<()> {
        let result = result.filter(|_| self.speaks((0, 4, 0)));
        for plugin in self.plugins.iter().rev() {
            self.exec("DEL", plugin, call, result)?;
        }
        Ok(())
    }

    /// CHECK through the chain (CNI 0.4.0 and later).
    ///
    /// # Errors
    /// As [`Chain::add`].
    pub fn check(&self, call: &Call, result: &Value) -> Result<()> {
        for plugin in &self.plugins {
            self.exec("CHECK", plugin, call, Some(result))?;
        }
        Ok(())
    }

    /// GC through the chain (CNI 1.1.0 and later): (container ID, interface) of all that is valid.
    ///
    /// # Errors
    /// As [`Chain::add`].
    pub fn gc(&self, valid: &[(&str, &str)]) -> Result<()> {
        let valid: Vec<Value> =
            valid.iter().map(|(id, ifname)| json!({"containerID": id, "ifname": ifname})).collect();
        for plugin in &self.plugins {
            let mut plugin = plugin.clone();
            plugin["cni.dev/valid-attachments"] = valid.clone().into();
            self.exec("GC", &plugin, &Call::default(), None)?;
        }
        Ok(())
    }

    /// STATUS through the chain (CNI 1.1.0 and later).
    ///
    /// # Errors
    /// As [`Chain::add`].
    pub fn status(&self) -> Result<()> {
        for plugin in &self.plugins {
            self.exec("STATUS", plugin, &Call::default(), None)?;
        }
        Ok(())
    }

    /// The same conflist with the plugins of one type only: to call one alone.
    pub fn only(&self, kind: &str) -> Chain {
        let mut chain = self.clone();
        chain.plugins.retain(|plugin| plugin["type"] == kind);
        chain
    }

    /// What libcni puts on a plugin's stdin.
    pub fn conf(&self, plugin: &Value, call: &Call, result: Option<&Value>) -> Value {
        let mut conf = plugin.clone();
        conf["name"] = self.name.clone().into();
        conf["cniVersion"] = self.version.clone().into();
        if let Some(result) = result {
            conf["prevResult"] = result.clone();
        }
        let mut runtime_config = call.runtime_config.clone();
        runtime_config.retain(|key, _| plugin["capabilities"][key] == true);
        if !runtime_config.is_empty() {
            conf["runtimeConfig"] = runtime_config.into();
        }
        conf
    }

    fn exec(
        &self,
        verb: &str,
        plugin: &Value,
        call: &Call,
        result: Option<&Value>,
    ) -> Result<Option<Value>> {
        let kind = plugin["type"].as_str().context("a plugin without type")?;
        let conf = self.conf(plugin, call, result);
        let binary = match &self.bin_dir {
            Some(dir) if kind == "shunt" => dir.join(kind),
            _ => find(kind)?,
        };
        let output = invoke(&binary, &call.env(verb), conf.to_string().as_bytes())?;
        answer(&output).with_context(|| format!("{kind} {verb}"))
    }

    /// `cniVersion` is this or later.
    fn speaks(&self, version: (u32, u32, u32)) -> bool {
        let mut parts = self.version.split('.').map(|part| part.parse().unwrap_or(0));
        let mut next = || parts.next().unwrap_or(0);
        (next(), next(), next()) >= version
    }
}

impl Call {
    /// The environment that libcni gives a plugin.
    pub fn env(&self, verb: &str) -> Vec<(&'static str, String)> {
        let path = match shunt() {
            Ok(binary) => format!("{}:{}", parent(&binary), PLUGIN_DIRS.join(":")),
            Err(_) => PLUGIN_DIRS.join(":"),
        };
        vec![
            ("CNI_COMMAND", verb.into()),
            ("CNI_CONTAINERID", self.container_id.clone()),
            ("CNI_NETNS", self.netns.clone()),
            ("CNI_IFNAME", self.ifname.clone()),
            ("CNI_ARGS", self.args.clone()),
            ("CNI_PATH", path),
        ]
    }
}

/// Runs a plugin's binary with exactly this environment besides PATH, and these bytes on stdin.
///
/// # Errors
/// It could not be started. How it ended is the caller's to judge.
pub fn invoke<V: AsRef<OsStr>>(
    binary: &Path,
    env: &[(&'static str, V)],
    stdin: &[u8],
) -> Result<Output> {
    let mut child = Command::new(binary)
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .envs(env.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", binary.display()))?;
    let mut pipe = child.stdin.take().context("no stdin")?;
    thread::scope(|scope| {
        // A plugin may end without reading it all.
        scope.spawn(move || pipe.write_all(stdin));
        Ok(child.wait_with_output()?)
    })
}

/// What a plugin's output means: a result, nothing, or its [`Failure`].
///
/// # Errors
/// [`Failure`] (by downcast), or output that is not as the CNI spec has it.
pub fn answer(output: &Output) -> Result<Option<Value>> {
    let text = String::from_utf8_lossy(&output.stdout);
    let value: Option<Value> = match text.trim() {
        "" => None,
        text => Some(serde_json::from_str(text).with_context(|| format!("stdout {text:?}"))?),
    };
    if output.status.success() {
        return Ok(value);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let failure = value.and_then(|value| serde_json::from_value::<Failure>(value).ok());
    let failure = failure
        .with_context(|| format!("{} without an error object: {text} {stderr}", output.status))?;
    Err(failure.into())
}

/// The shunt binary: `SHUNT_BIN`, or what cargo built beside this executable.
///
/// # Errors
/// It is at neither place.
pub fn shunt() -> Result<PathBuf> {
    built("shunt", "SHUNT_BIN", "plugin")
}

pub(crate) fn built(name: &str, variable: &str, package: &str) -> Result<PathBuf> {
    if let Some(path) = env::var_os(variable) {
        return Ok(path.into());
    }
    let exe = env::current_exe()?;
    // target/debug/demo, target/debug/deps/main-0123456789abcdef
    let found = exe.ancestors().skip(1).take(2).map(|dir| dir.join(name));
    let mut found = found.filter(|path| path.is_file());
    found.next().with_context(|| {
        format!("{name} is not built: cargo build -p {package}, or set {variable}")
    })
}

/// Where a plugin is on this machine.
///
/// # Errors
/// It is not installed, or not built.
pub fn find(kind: &str) -> Result<PathBuf> {
    if kind == "shunt" {
        return shunt();
    }
    let mut paths = PLUGIN_DIRS.iter().map(|dir| Path::new(dir).join(kind));
    paths.find(|path| path.is_file()).with_context(|| {
        format!("CNI plugin {kind} is not installed (Debian: containernetworking-plugins)")
    })
}

fn parent(path: &Path) -> String {
    let parent = path.parent().unwrap_or(path);
    parent.display().to_string()
}

/// The addresses in a CNI result of any version, in its order.
///
/// # Errors
/// An address cannot be read.
pub fn ips(result: &Value) -> Result<Vec<std::net::IpAddr>> {
    let ips = result["ips"].as_array().map(Vec::as_slice).unwrap_or(&[]);
    ips.iter()
        .map(|ip| {
            let address = ip["address"].as_str().context("no address")?;
            let (ip, _) = address.split_once('/').context("no prefix length")?;
            Ok(ip.parse()?)
        })
        .collect::<Result<_>>()
        .with_context(|| format!("ips in {result}"))
}

/// Fails if it is not the [`Failure`] of that code; gives it.
///
/// # Errors
/// It succeeded, or failed otherwise.
pub fn expect_failure<T: fmt::Debug>(outcome: Result<T>, code: u32) -> Result<Failure> {
    let Err(e) = outcome else {
        anyhow::bail!("expected CNI error {code}, got {outcome:?}");
    };
    let failure = e.downcast::<Failure>().context("not a CNI error")?;
    ensure!(failure.code == code, "expected CNI error {code}: {failure}");
    Ok(failure)
}
