//! deploy/chart/monitoring, with Prometheus itself and Grafana's own types.

use super::{
    chart::{chart, objects},
    folder_of_tools,
};
use crate::install::{
    host::{Host, talk},
    watch::{Watch, entry_is_back, until},
};
use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
};
use tests::{node::Node, trial};

pub fn tests() -> [Trial; 3] {
    [
        trial("deploy::monitoring::alerts_come_when_they_should", alerts_come_when_they_should),
        trial("deploy::monitoring::what_is_asked_for_is_there", what_is_asked_for_is_there),
        trial("deploy::monitoring::dashboard_is_what_grafana_takes", dashboard_is_valid),
    ]
}

fn alerts_come_when_they_should() -> Result<()> {
    let node = Node::new("alerts")?;
    rules(&node.dir)?;
    let cases = node.dir.join("cases.yaml");
    fs::write(&cases, include_str!("alerts.yaml"))?;
    let told = promtool(&["test", "rules", cases.to_str().context("utf-8")?])?;
    ensure!(told.contains("SUCCESS"), "{told}");
    Ok(())
}

/// Each alert's and each panel's query gets numbers, and each metric and label in it exists.
fn what_is_asked_for_is_there() -> Result<()> {
    let host = Host::new("asked")?;
    host.write_primary()?;
    let watch = Watch::start(&host, &[&format!("--metrics={SHUNT}")])?;
    entry_is_back(&host, 0)?;
    let (rules, dashboard) = (rules(&host.node.dir)?, dashboard()?);
    let prometheus = Running(start(&host.node.dir)?);
    // The first pod loads the programs: counters are there from then on, and seen to rise.
    let (a, b) = (host.pod("a", host.chain()?)?, host.pod("b", host.chain()?)?);
    let counter = || query("shunt_shunted_bytes_total").ok().filter(|it| !it.is_empty());
    until("a scrape", || Ok(counter()))?;
    talk(&a, &b)?;

    let alerts = list(&rules["groups"][0]["rules"])?.iter().map(|rule| &rule["expr"]);
    let panels = list(&dashboard["panels"])?.iter().map(|panel| list(&panel["targets"]));
    let panels = panels.collect::<Result<Vec<_>>>()?.into_iter().flatten();
    let mut asked = 0;
    for expression in alerts.chain(panels.map(|target| &target["expr"])) {
        let expression = expression.as_str().context("expr")?;
        let expression = expression.replace("$node", ".*").replace("$__rate_interval", "1m");
        // What an alert compares.
        let compared = [" == ", " > "].iter().fold(&expression[..], |expression, operator| {
            expression.split_once(operator).map_or(expression, |(compared, _)| compared)
        });
        let answered = |it: &String| !it.is_empty() && !it.contains("NaN");
        let answer = until(compared, || Ok(Some(query(compared)?).filter(answered)))?;
        for label in labels(compared) {
            ensure!(answer.lines().all(|it| it.contains(&format!("{label}=\""))), "{answer}");
        }
        for selector in selectors(compared) {
            let found = query(selector)?.lines().count();
            // Each of `reason=~"a|b"`.
            ensure!(found > selector.matches('|').count(), "{selector}: {found} samples");
        }
        asked += 1;
    }
    ensure!(asked >= 3 + 4, "{asked} queries");
    drop(prometheus);
    watch.stop()
}

fn dashboard_is_valid() -> Result<()> {
    let dashboard = dashboard()?;
    let source = &dashboard["templating"]["list"][0];
    ensure!(source["name"] == "datasource" && source["type"] == "datasource", "{source}");
    let mut ids = BTreeSet::new();
    for panel in list(&dashboard["panels"])? {
        ensure!(panel["id"].as_u64().is_some_and(|id| ids.insert(id)), "{panel}");
        ensure!(panel["datasource"]["uid"] == "${datasource}", "{panel}");
    }
    let text = dashboard.to_string();
    kept_by_grafana(&text)?;
    for key in ["title", "gridPos", "legendFormat", "unit"] {
        let wrong = text.replace(&format!("{key:?}"), &format!("\"{key}s\""));
        let told = kept_by_grafana(&wrong).err().context("taken")?.to_string();
        ensure!(told.contains(&format!("{key}s")), "{told}");
    }
    Ok(())
}

fn kept_by_grafana(dashboard: &str) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deploy/grafana.py");
    let mut python = Command::new("python3")
        .arg(script)
        .env("PYTHONPATH", folder_of_tools()?.join("python"))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    python.stdin.take().context("stdin")?.write_all(dashboard.as_bytes())?;
    let output = python.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

const SHUNT: &str = "127.0.0.1:9477";
const PROMETHEUS: &str = "127.0.0.1:9478";

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Prometheus, which reads [`SHUNT`] each second.
fn start(folder: &Path) -> Result<Child> {
    let config = folder.join("prometheus.yaml");
    let targets = json!([{"targets": [SHUNT], "labels": {"node": "here"}}]);
    let scrape = json!({"job_name": "shunt", "scrape_interval": "1s", "static_configs": targets});
    fs::write(
        &config,
        json!({"scrape_configs": [scrape], "rule_files": ["rules.yaml"]}).to_string(),
    )?;
    Command::new(folder_of_tools()?.join("root/usr/bin/prometheus"))
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
        .arg(format!("--web.listen-address={PROMETHEUS}"))
        .stderr(File::create(folder.join("prometheus.log"))?)
        .spawn()
        .context("prometheus")
}

/// A line for each sample.
fn query(expression: &str) -> Result<String> {
    let answer = promtool(&["query", "instant", &format!("http://{PROMETHEUS}"), expression])?;
    Ok(answer.trim().to_owned())
}

fn promtool(arguments: &[&str]) -> Result<String> {
    let promtool = folder_of_tools()?.join("root/usr/bin/promtool");
    let output = Command::new(promtool).args(arguments).output().context("promtool")?;
    let told = [&output.stdout[..], &output.stderr].concat();
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&told));
    Ok(String::from_utf8(output.stdout)?)
}

/// `by (a, b)`.
fn labels(expression: &str) -> impl Iterator<Item = &str> {
    let by = expression.split_once("by (").and_then(|(_, rest)| rest.split_once(')'));
    by.into_iter().flat_map(|(labels, _)| labels.split(", "))
}

/// `shunt_name` and `shunt_name{label="value"}`.
fn selectors(expression: &str) -> impl Iterator<Item = &str> {
    expression.match_indices("shunt_").map(|(at, _)| {
        let rest = &expression[at..];
        let is_name = |char: char| char.is_ascii_lowercase() || char == '_';
        let name = rest.find(|char| !is_name(char)).unwrap_or(rest.len());
        let labels = rest[name..].starts_with('{').then(|| rest.find('}')).flatten();
        &rest[..labels.map_or(name, |end| end + 1)]
    })
}

/// The rules, also as Prometheus reads them, in that folder.
fn rules(folder: &Path) -> Result<Value> {
    let rules = &objects(&read("alerts.yaml")?)?["PrometheusRule"]["spec"];
    fs::write(folder.join("rules.yaml"), rules.to_string())?;
    Ok(rules.clone())
}

fn dashboard() -> Result<Value> {
    Ok(serde_json::from_str(&read("dashboard.json")?)?)
}

fn read(name: &str) -> Result<String> {
    let path = chart().join("monitoring").join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().with_context(|| format!("no list: {value}"))
}
