//! What a runtime says in the environment: CNI_COMMAND and its companions.

use std::{env, fmt};

use crate::error::{Code, Error};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_uppercase())
    }
}

impl Verb {
    /// # Errors
    /// Code 4: CNI_COMMAND names no verb.
    pub fn from_env() -> Result<Verb, Error> {
        let command = var("CNI_COMMAND")?;
        Ok(match command.as_str() {
            "ADD" => Verb::Add,
            "DEL" => Verb::Del,
            "CHECK" => Verb::Check,
            "GC" => Verb::Gc,
            "STATUS" => Verb::Status,
            "VERSION" => Verb::Version,
            _ => return Err(invalid(format!("CNI_COMMAND: unknown verb {command:?}"))),
        })
    }

    /// The variables that the specification calls required, beside CNI_COMMAND.
    fn required(self) -> &'static [&'static str] {
        match self {
            Verb::Add | Verb::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
            Verb::Del => &["CNI_CONTAINERID", "CNI_IFNAME"],
            Verb::Gc => &["CNI_PATH"],
            Verb::Status | Verb::Version => &[],
        }
    }
}

/// One call by a runtime. A variable that is not set is empty.
pub struct Call {
    pub container_id: String,
    pub ifname: String,
    pub netns: String,
    args: String,
}

impl Call {
    /// # Errors
    /// Code 4, naming every variable that is missing or not what the specification allows.
    pub fn from_env(verb: Verb) -> Result<Call, Error> {
        let call = Call {
            container_id: var("CNI_CONTAINERID")?,
            ifname: var("CNI_IFNAME")?,
            netns: var("CNI_NETNS")?,
            args: var("CNI_ARGS")?,
        };
        let mut missing = Vec::new();
        for &name in verb.required() {
            if var(name)?.is_empty() {
                missing.push(name);
            }
        }
        if !missing.is_empty() {
            let missing = missing.join(", ");
            return Err(invalid(format!("{verb} needs {missing}")));
        }
        if !call.container_id.is_empty() && !is_identifier(&call.container_id) {
            return Err(invalid(format!("CNI_CONTAINERID: {:?}", call.container_id)));
        }
        if !call.ifname.is_empty() && !is_ifname(&call.ifname) {
            return Err(invalid(format!("CNI_IFNAME: {:?}", call.ifname)));
        }
        Ok(call)
    }

    /// The value of a key of CNI_ARGS, `K8S_POD_UID` for example, if there is one.
    pub fn arg(&self, key: &str) -> Option<&str> {
        self.args
            .split(';')
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(k, value)| (k == key && !value.is_empty()).then_some(value))
    }
}

fn var(name: &str) -> Result<String, Error> {
    let value = env::var_os(name).unwrap_or_default();
    let value = value.into_string();
    value.map_err(|value| invalid(format!("{name}: not UTF-8: {value:?}")))
}

fn invalid(what: String) -> Error {
    Error::new(Code::InvalidEnvironment, format!("invalid environment: {what}"))
}

/// As the specification wants container IDs and network names: alphanumeric, then also `_.-`.
pub fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// As the kernel's dev_valid_name() does.
fn is_ifname(text: &str) -> bool {
    text.len() < shim::layout::MAX_IFNAME
        && text != "."
        && text != ".."
        && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn args_are_found_in_any_order_and_among_nonsense() {
        let call = |args: &str| Call {
            container_id: String::new(),
            ifname: String::new(),
            netns: String::new(),
            args: args.to_owned(),
        };
        for args in [
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=mesh;K8S_POD_UID=a=b",
            "K8S_POD_UID=a=b;;x;K8S_POD_NAMESPACE=mesh;",
        ] {
            assert_eq!(call(args).arg("K8S_POD_NAMESPACE"), Some("mesh"));
            assert_eq!(call(args).arg("K8S_POD_UID"), Some("a=b"));
        }
        assert_eq!(call("K8S_POD_UID=").arg("K8S_POD_UID"), None);
    }
}
