//! What a runtime gives the plugin: the values of its variables, with a zero behind each, and then
//! stdin. Whatever it is, there is an answer that the runtime can read.
#![no_main]
#![allow(dead_code)]

#[path = "../../plugin/src/conf.rs"]
mod conf;
#[path = "../../plugin/src/env.rs"]
mod env;
#[path = "../../plugin/src/error.rs"]
mod error;
#[path = "../../plugin/src/node_proxy.rs"]
mod node_proxy;
#[path = "../../plugin/src/policy.rs"]
mod policy;
#[path = "../../plugin/src/prev_result.rs"]
mod prev_result;
#[path = "../../plugin/src/service_cidrs.rs"]
mod service_cidrs;
#[path = "../../plugin/src/version.rs"]
mod version;

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const VARIABLES: [&str; 6] =
    ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH"];

fuzz_target!(|input: &[u8]| {
    let mut stdin = input;
    for variable in VARIABLES {
        let end = stdin.iter().position(|byte| *byte == 0).unwrap_or(stdin.len());
        // SAFETY: the fuzzer has one thread.
        unsafe { std::env::set_var(variable, OsStr::from_bytes(&stdin[..end])) };
        stdin = &stdin[(end + 1).min(stdin.len())..];
    }
    let mut cni_version = version::NEWEST;
    match answer(stdin, &mut cni_version) {
        Ok(answer) => assert!(!answer.is_empty()),
        Err(error) => {
            let told: Value = serde_json::from_str(&error.to_json(cni_version)).unwrap();
            assert!(told["code"].is_u64() && told["cniVersion"] == cni_version, "{told}");
        }
    }
});

/// All but what is done to the kernel, which leaves it as it is.
fn answer(stdin: &[u8], cni_version: &mut &'static str) -> Result<String, error::Error> {
    let verb = env::Verb::from_env()?;
    if verb == env::Verb::Version {
        return Ok(version::run());
    }
    let call = env::Call::from_env(verb)?;
    let bytes = conf::read(stdin)?;
    let conf = conf::Conf::parse(&bytes, verb, cni_version)?;
    let _ = policy::of_pod(&conf, &call);
    if !matches!(verb, env::Verb::Add | env::Verb::Check) {
        return Ok("{}".to_owned());
    }
    let result = conf.prev_result()?;
    prev_result::pod_ips(result);
    let passed_on: Value = serde_json::from_str(result.get()).unwrap_or_default();
    Ok(passed_on.to_string())
}
