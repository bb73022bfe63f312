//! The demo's result as one page that needs nothing else.

use crate::{chart, evidence::Evidence, stats::Series, table};
use std::fmt::Write;

const STYLE: &str = "
body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:auto;padding:1rem;color:#1f2328;background:#fff}
h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.15rem;margin-top:2rem}svg{width:100%;height:auto;display:block}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.85rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .35rem;white-space:nowrap;text-align:right;border-bottom:1px solid #d1d9e0}
th:first-child,td:first-child{text-align:left}pre{font-size:.75rem}.note{color:#59636e}
@media(prefers-color-scheme:dark){body{color:#f0f6fc;background:#0d1117}th,td{border-color:#3d444d}.note{color:#9198a1}}
";

/// `setting` tells where and how it was measured.
pub fn page(setting: &str, loads: &[(&str, &Series)], evidence: &Evidence) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang='en'><meta charset='utf-8'>\
         <meta name='viewport' content='width=device-width,initial-scale=1'>\
         <title>shunt: two pods of a mesh, before and after</title>\
         <style>{STYLE}{}</style>\
         <h1>Two pods of a mesh on one node, without and with shunt</h1>\
         <p class='note'>{setting}",
        chart::STYLE
    );
    for (title, series) in loads {
        let chart = chart::picture(&[chart::chart(title, series)]);
        let _ = write!(page, "<figure style='margin:1.5rem 0 .5rem'>{chart}</figure>");
        html_table(&mut page, &table::COMPARISON, &table::comparison(series));
    }
    page += "<p class='note'>off, on: medians of the rounds. on/off: median of the ratios within each \
             round, and their range. CPU is that of the whole machine.\
             <h2>Which way the bytes went</h2>";
    html_table(&mut page, &table::COUNTERS, &table::counters(evidence));
    page += "<p class='note'>In the last round with shunt, both loads, applications and sidecars.";
    for (command, output) in &evidence.dumps {
        let output = output.replace('&', "&amp;").replace('<', "&lt;");
        let _ = write!(
            page,
            "<details><summary><code>{command}</code></summary><div class='wide'><pre>{output}</pre></div></details>"
        );
    }
    page + "</html>\n"
}

fn html_table(page: &mut String, head: &[&str], rows: &[Vec<String>]) {
    let head: String = head.iter().map(|cell| format!("<th>{cell}")).collect();
    let _ = write!(page, "<div class='wide'><table><tr>{head}");
    for row in rows {
        let row: String = row.iter().map(|cell| format!("<td>{cell}")).collect();
        let _ = write!(page, "<tr>{row}");
    }
    *page += "</table></div>";
}
