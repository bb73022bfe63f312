//! The demo's result as one page that needs nothing else.

use crate::{chart, evidence::Evidence, stats::Series, table};
use std::fmt::Write;
use tests::page;

/// `setting` tells where and how it was measured.
pub fn page(setting: &str, loads: &[(&str, &Series)], evidence: &Evidence) -> String {
    let mut body = format!("<p class='note'>{setting}");
    for (title, series) in loads {
        body += &page::figure(&chart::picture(&[chart::chart(title, series)]));
        body += &page::table(table::head(series), &table::comparison(series));
    }
    body += "<p class='note'>off, on: medians of the rounds. on/off: median of the ratios within each \
             round, and their range. CPU is that of the whole machine.\
             <h2>Which way the bytes went</h2>";
    body += &page::table(&table::COUNTERS, &table::counters(evidence));
    body += "<p class='note'>In the last round with shunt, both loads, applications and sidecars.";
    for (command, output) in &evidence.dumps {
        let output = output.replace('&', "&amp;").replace('<', "&lt;");
        let _ = write!(
            body,
            "<details><summary><code>{command}</code></summary><div class='wide'><pre>{output}</pre></div></details>"
        );
    }
    page::page(
        "shunt: two pods of a mesh, before and after",
        "Two pods of a mesh on one node, without and with shunt",
        &body,
    )
}
