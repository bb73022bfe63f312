//! The report as one page that needs nothing else.

use crate::{pictures, plan::time, report::Report, tables::Table};
use std::time::Duration;
use tests::page;

pub fn page(report: &Report) -> String {
    let (bounds, missed) = report.score();
    let machine = &report.machine;
    let mut body = format!(
        "<p class='note'>{} processors, Linux {}, {} MiB of memory; {} rounds; measured in {} by \
         <code>{}</code>. {missed} of {bounds} bounds are missed (!).",
        machine.processors,
        machine.kernel,
        machine.memory_mib,
        report.plan.rounds,
        time(Duration::from_secs(report.seconds)),
        escape(&report.command),
    );
    let headlines = Table::of_headlines(report);
    body += &page::table(&headlines.head, &escaped(&headlines.rows));
    for note in &report.notes {
        body += &format!("<p>{}", escape(note));
    }
    body += "<p class='note'>plain: plain TCP. unix: AF_UNIX, what the kernel can do at best between two \
             programs. naive: the textbook's sockmap, which pairs by addresses and redirects all, without \
             bounds, order or proof. All ways of a row are measured in turn in each round. Ratios: median of \
             the rounds', and their range. CPU is that of the whole machine for a request. (!): below what it \
             should be. (~): the median is, some rounds are not. short way: share of the bytes that shunt's \
             pods sent from socket to socket, by its counters.";
    for scene in &report.scenes {
        body += &format!("<h2>{}</h2><p class='note'>{}", scene.title, scene.note);
        body += &pictures::draw(scene).map(|svg| page::figure(&svg)).unwrap_or_default();
        let table = Table::of(scene);
        body += &page::table(&table.head, &escaped(&table.rows));
    }
    page::page("shunt: what it gives on this machine", "What shunt gives on this machine", &body)
}

fn escaped(rows: &[Vec<String>]) -> Vec<Vec<String>> {
    rows.iter().map(|row| row.iter().map(|cell| escape(cell)).collect()).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
