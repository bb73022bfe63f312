//! docs/programs.md: what each run found, in a table of its own.

use crate::{all, program::Program, verdict::MOST};
use anyhow::{Context as _, Result, ensure};
use nix::sys::utsname::uname;
use std::{collections::BTreeMap, env, fmt, fs, path::Path, sync::Mutex};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/programs.md");
const HEAD: &str =
    "| program | role | how it reads | short way | new connections | signs | differs |
|---|---|---|---|---|---|---|
";

/// What this run found.
static FOUND: Mutex<Vec<Row>> = Mutex::new(Vec::new());

/// What was found of one program.
#[derive(Clone, Debug)]
pub struct Row {
    pub program: Program,
    /// Of a hundred messages, those that took the short way: on connections that are kept, from
    /// the second on.
    pub kept: Option<u64>,
    /// The same with a new connection for each request.
    pub new: Option<u64>,
    pub signs: String,
    /// From plain TCP, and how. Empty: it does not.
    pub differs: String,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Row { program, kept, new, signs, differs } = self;
        let percent =
            |share: &Option<u64>| share.map_or("–".into(), |share| format!("{share} %"));
        let [name, role] = key(program);
        let reader = program.reader.as_a_person_says();
        let differs = if differs.is_empty() { "no" } else { differs };
        let (kept, new) = (percent(kept), percent(new));
        write!(f, "| {name} | {role} | {reader} | {kept} | {new} | {signs} | {differs} |")
    }
}

/// What a row is found by.
fn key(program: &Program) -> [String; 2] {
    [program.name.into(), format!("{:?}", program.role).to_lowercase()]
}

/// Takes a row in. It is told at once, for who waits.
pub fn add(row: Row) {
    eprintln!("{row}");
    if let Ok(mut found) = FOUND.lock() {
        found.push(row);
    }
}

/// A document: what comes before its first heading, and the rows of each run, by their keys.
struct Document {
    preface: String,
    runs: BTreeMap<String, BTreeMap<[String; 2], String>>,
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
    (cells[7] == "no", share.is_ok_and(|share| share >= MOST))
}

/// How this run's table is called.
fn title() -> Result<String> {
    let release = uname()?.release().to_string_lossy().into_owned();
    let version: Vec<&str> = release.split('.').take(2).collect();
    let by = env::var("SHUNT_WATCH").unwrap_or_else(|_| "names".into());
    let blocking = env::var("SHUNT_BLOCKING").map(|set| format!(", blocking {set}"));
    Ok(format!("Linux {}, watched by {by}{}", version.join("."), blocking.unwrap_or_default()))
}

fn found() -> BTreeMap<[String; 2], String> {
    let rows = FOUND.lock().map(|rows| rows.clone()).unwrap_or_default();
    rows.iter().map(|row| (key(&row.program), row.to_string())).collect()
}

/// Puts what this run found into its table. A table is of all programs, or of the short list.
///
/// # Errors
/// The document cannot be read or written.
pub fn write() -> Result<()> {
    let found = found();
    if found.is_empty() {
        return Ok(());
    }
    let mut document = Document::read()?;
    let rows = document.runs.entry(title()?).or_default();
    rows.extend(found);
    if is_whole(rows) {
        let new = Path::new(DOCUMENT).with_extension("md.new");
        fs::write(&new, document.to_string()).context("write docs/programs.md")?;
        fs::rename(&new, DOCUMENT)?;
    }
    Ok(())
}

fn is_whole(rows: &BTreeMap<[String; 2], String>) -> bool {
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
    let Some(rows) = document.runs.get(&title()?) else { return Ok(()) };
    for (key, row) in found() {
        let said = rows.get(&key).with_context(|| format!("no row for {key:?}"))?;
        ensure!(
            verdict(said) == verdict(&row),
            "docs/programs.md says {said}, and this run {row}: commit what it has written"
        );
    }
    Ok(())
}
