//! docs/programs.md: what each run found, in a table of its own.

use crate::{all, program::Program, verdict::MOST};
use anyhow::{Context as _, Result, ensure};
use nix::sys::utsname::uname;
use std::{collections::BTreeMap, env, fmt, fs, path::Path, sync::Mutex};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/programs.md");
const HEAD: &str =
    "| program | role | how it reads | short way | new connections | seen | left to TCP for | differs |
|---|---|---|---|---|---|---|---|
";

/// What comes before a row where it is told: in a guest, nothing else is left of it.
const TOLD: &str = "docs/programs.md: ";

/// What this run found: whose table, and the row.
static FOUND: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// What was found of one program.
#[derive(Clone, Debug)]
pub struct Row {
    pub program: Program,
    /// How shunt watches programs here.
    pub watched: String,
    /// Of a hundred messages, those that took the short way: on connections that are kept, from
    /// the second on.
    pub kept: Option<u64>,
    /// The same with a new connection for each request.
    pub new: Option<u64>,
    /// What was seen of it, and why shunt left connections of its pod to TCP.
    pub signs: [String; 2],
    /// From plain TCP, and how. Empty: it does not.
    pub differs: String,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Row { program, kept, new, signs, differs, .. } = self;
        let percent =
            |share: &Option<u64>| share.map_or("–".into(), |share| format!("{share} %"));
        let ([name, role], [seen, reasons]) = (key(program), signs);
        let reader = program.reader.as_a_person_says();
        let differs = if differs.is_empty() { "no" } else { differs };
        let (kept, new) = (percent(kept), percent(new));
        write!(
            f,
            "| {name} | {role} | {reader} | {kept} | {new} | {seen} | {reasons} | {differs} |"
        )
    }
}

/// What a row is found by.
fn key(program: &Program) -> [String; 2] {
    [program.name.into(), format!("{:?}", program.role).to_lowercase()]
}

/// Takes a row in, and tells it at once.
///
/// # Errors
/// Of uname(2).
pub fn add(row: &Row) -> Result<()> {
    let title = row.title()?;
    eprintln!("\n{TOLD}{title}: {row}");
    if let Ok(mut found) = FOUND.lock() {
        found.push((title, row.to_string()));
    }
    Ok(())
}

impl Row {
    /// How this run's table is called.
    fn title(&self) -> Result<String> {
        let release = uname()?.release().to_string_lossy().into_owned();
        let version: Vec<&str> = release.split('.').take(2).collect();
        let blocking = env::var("SHUNT_BLOCKING").map(|set| format!(", blocking {set}"));
        let blocking = blocking.unwrap_or_default();
        Ok(format!("Linux {}, watched by {}{blocking}", version.join("."), self.watched))
    }
}

/// By their keys.
type Rows = BTreeMap<[String; 2], String>;

/// A document: what comes before its first heading, and the rows of each run, by their keys.
struct Document {
    preface: String,
    runs: BTreeMap<String, Rows>,
}

impl Document {
    fn read() -> Result<Self> {
        let text = fs::read_to_string(DOCUMENT).context("docs/programs.md")?;
        let mut sections = text.split("\n## ");
        let preface = sections.next().unwrap_or_default().trim_end().to_owned();
        let runs = sections.map(|section| {
            let (title, table) = section.split_once('\n').unwrap_or((section, ""));
            let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
            (title.to_owned(), rows.map(|row| (cells(row), row.to_owned())).collect())
        });
        Ok(Self { preface, runs: runs.collect() })
    }
}

impl fmt::Display for Document {
    /// Rows in the order of the code.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "{}", self.preface)?;
        for (title, rows) in &self.runs {
            write!(f, "\n## {title}\n\n{HEAD}")?;
            for row in all().iter().filter_map(|program| rows.get(&key(program))) {
                writeln!(f, "{row}")?;
            }
        }
        Ok(())
    }
}

fn cells(row: &str) -> [String; 2] {
    let mut cells = row.split('|').skip(1).map(|cell| cell.trim().to_owned());
    [(); 2].map(|()| cells.next().unwrap_or_default())
}

/// Whether nothing differed, and whether most went the short way: what must not change unnoticed.
fn verdict(row: &str) -> (bool, bool) {
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    let share = cells[4].trim_end_matches(" %").parse::<u64>();
    (cells[8] == "no", share.is_ok_and(|share| share >= MOST))
}

fn found() -> Vec<(String, String)> {
    FOUND.lock().map(|rows| rows.clone()).unwrap_or_default()
}

/// Puts what this run found into its table.
///
/// # Errors
/// The document cannot be read or written.
pub fn write() -> Result<()> {
    put(found())
}

/// Puts what a run found elsewhere into its table, by what it told there.
///
/// # Errors
/// As [`write`], or that file cannot be read.
pub fn merge(console: &Path) -> Result<()> {
    let text = fs::read(console).with_context(|| console.display().to_string())?;
    let text = String::from_utf8_lossy(&text);
    let told = text.lines().filter_map(|line| line.trim_end().strip_prefix(TOLD));
    let rows = told.filter_map(|told| told.split_once(": "));
    put(rows.map(|(title, row)| (title.to_owned(), row.to_owned())).collect())
}

/// A table is of all programs, or of the short list: where that is not so, it stays as it is.
fn put(found: Vec<(String, String)>) -> Result<()> {
    let mut document = Document::read()?;
    let before = document.to_string();
    let mut runs: BTreeMap<String, Rows> = BTreeMap::new();
    for (title, row) in found {
        runs.entry(title).or_default().insert(cells(&row), row);
    }
    for (title, new) in runs {
        let mut all = document.runs.get(&title).cloned().unwrap_or_default();
        all.extend(new.clone());
        if let Some(whole) = [all, new].into_iter().find(is_whole) {
            document.runs.insert(title, whole);
        }
    }
    if document.to_string() == before {
        return Ok(());
    }
    let new = Path::new(DOCUMENT).with_extension("md.new");
    fs::write(&new, document.to_string()).context("write docs/programs.md")?;
    Ok(fs::rename(&new, DOCUMENT)?)
}

fn is_whole(rows: &Rows) -> bool {
    let names = |short: bool| {
        let programs = all().into_iter().filter(move |program| program.short || !short);
        programs.map(|program| key(&program)).collect::<Vec<_>>()
    };
    [false, true]
        .map(names)
        .iter()
        .any(|names| names.len() == rows.len() && names.iter().all(|name| rows.contains_key(name)))
}

/// The tables have a row for each program, and say of those that were tried now what was found now.
///
/// # Errors
/// Names the run, or the row, that is to be committed anew.
pub fn is_true() -> Result<()> {
    let document = Document::read()?;
    ensure!(!document.runs.is_empty(), "docs/programs.md has no table");
    for (title, rows) in &document.runs {
        ensure!(is_whole(rows), "docs/programs.md, {title}: not a row for each program");
    }
    for (title, row) in found() {
        let Some(rows) = document.runs.get(&title) else { continue };
        let said = rows.get(&cells(&row)).with_context(|| format!("no row as {row}"))?;
        ensure!(
            verdict(said) == verdict(&row),
            "docs/programs.md says {said}, and this run {row}: commit what it has written"
        );
    }
    Ok(())
}
