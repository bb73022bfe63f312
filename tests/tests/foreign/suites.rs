//! Test suites, each with all its connections inside one pod.

use crate::place::{Expect, Place, check, differences, same};
use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use serde_json::json;
use std::{collections::BTreeSet, fs};
use tests::{node::Node, trial};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("suites::asyncio", || {
            compare(
                "asyncio",
                100_000,
                "test.test_asyncio.",
                &[
                    "test_buffered_proto",
                    "test_events",
                    "test_sendfile",
                    "test_server",
                    "test_sock_lowlevel",
                    "test_sslproto",
                    "test_streams",
                ],
            )
        }),
        trial("suites::cpython", || {
            compare(
                "cpython",
                100_000,
                "test.",
                &[
                    "test_asynchat",
                    "test_asyncore",
                    "test_httplib",
                    "test_httpservers",
                    "test_poplib",
                    "test_smtplib",
                    "test_socketserver",
                    "test_ssl",
                ],
            )
        }),
        // Nearly all of its sockets block.
        trial("suites::socket", || compare("socket", 0, "test.", &["test_socket"])),
        trial("suites::tornado", || {
            compare(
                "tornado",
                1_000_000,
                "tornado.test.",
                &[
                    "httpserver_test",
                    "iostream_test",
                    "netutil_test",
                    "simple_httpclient_test",
                    "tcpclient_test",
                    "tcpserver_test",
                    "websocket_test",
                ],
            )
        }),
        trial("suites::twisted", || {
            compare(
                "twisted",
                1_000_000,
                "twisted.",
                &[
                    "internet.test.test_tcp",
                    "internet.test.test_tls",
                    "test.test_ssl",
                    "test.test_tcp",
                    "test.test_ftp",
                    "web.test.test_webclient",
                ],
            )
        }),
    ]
}

/// Tests that send with MSG_OOB: docs/limits.md has it.
const OUT_OF_BAND: &str = ".test_handle_expt ";

/// The same verdict for each test of these modules, on plain TCP and with shunt at the same time,
/// as they mostly wait. Many of them count on being in time, so where a verdict differs, both are
/// asked once more for that test alone.
fn compare(name: &str, least: u64, package: &str, modules: &[&str]) -> Result<()> {
    let mut node = Node::new(name)?;
    node.conf.insert("trustedPrograms".into(), json!(["python3.11"]));
    let (plain, pod) = (node.outside("plain")?, node.pod("pod")?);
    let script = node.dir.join("verdicts.py");
    fs::write(&script, include_str!("verdicts.py"))?;
    let places =
        [Place::new(&node, "plain", &plain, &plain)?, Place::new(&node, "pod", &pod, &pod)?];
    let run = |tests: &str| -> Result<[String; 2]> {
        let path = crate::folder()?.join("python").display().to_string();
        let command =
            format!("PYTHONPATH={path} python3.11 -W ignore {} {tests}", script.display());
        let [plain, shunted] = places.each_ref().map(|place| place.start(&command));
        let known = |verdicts: String| -> String {
            verdicts
                .lines()
                .filter(|line| !line.contains(OUT_OF_BAND))
                .map(|line| format!("{line}\n"))
                .collect()
        };
        Ok([plain?.join()?, shunted?.join()?].map(known))
    };
    let modules: Vec<String> = modules.iter().map(|module| format!("{package}{module}")).collect();
    let [plain, shunted] = run(&modules.join(" "))?;
    ensure!(plain.lines().any(|line| line.ends_with(" ok")), "no test of {name} has passed");
    let differ: BTreeSet<&str> =
        differences(&plain, &shunted).filter_map(|line| line.split(' ').next()).collect();
    if !differ.is_empty() {
        let differ: Vec<&str> = differ.into_iter().collect();
        let [plain, shunted] = run(&differ.join(" "))?;
        same(&plain, &shunted)?;
    }
    check(Expect::Shunted(least), node.counters(&pod)?)
}
