//! A page that needs nothing else, readable on a phone, in light and dark.

use anyhow::Result;
use nix::sys::utsname::uname;
use std::{fmt::Write as _, thread::available_parallelism};

const STYLE: &str = "
body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:auto;padding:1rem;color:#1f2328;background:#fff}
h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.15rem;margin-top:2rem}svg{width:100%;height:auto;display:block}
figure{margin:1.5rem 0 .5rem}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.85rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .35rem;white-space:nowrap;text-align:right;border-bottom:1px solid #d1d9e0}
th:first-child,td:first-child{text-align:left;white-space:normal;min-width:6.5rem;position:sticky;left:0;background:#fff}
pre{font-size:.75rem}.note{color:#59636e}
@media(prefers-color-scheme:dark){body{color:#f0f6fc;background:#0d1117}th,td{border-color:#3d444d}
th:first-child,td:first-child{background:#0d1117}.note{color:#9198a1}}
";

/// `body` follows the heading.
pub fn page(title: &str, heading: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang='en'><meta charset='utf-8'>\
         <meta name='viewport' content='width=device-width,initial-scale=1'>\
         <title>{title}</title><style>{STYLE}</style><h1>{heading}</h1>{body}</html>\n"
    )
}

pub fn table(head: &[impl AsRef<str>], rows: &[Vec<String>]) -> String {
    let mut html = String::from("<div class='wide'><table><tr>");
    html.extend(head.iter().map(|cell| format!("<th>{}", cell.as_ref())));
    for row in rows {
        let row: String = row.iter().map(|cell| format!("<td>{cell}")).collect();
        let _ = write!(html, "<tr>{row}");
    }
    html + "</table></div>"
}

pub fn figure(picture: &str) -> String {
    format!("<figure>{picture}</figure>")
}

/// Where it was measured.
///
/// # Errors
/// Of uname(2).
pub fn machine() -> Result<String> {
    let kernel = uname()?.release().display().to_string();
    Ok(format!("one machine of {} processors, Linux {kernel}", available_parallelism()?))
}
