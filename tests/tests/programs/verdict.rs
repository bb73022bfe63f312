//! What is said of a program: whether it differs from plain TCP, and how much took the short way.

use crate::{
    foretell,
    play::{Answer, Mode, Play, conf, patience, play},
    program::{Program, Reader},
    table::{self, Row},
};
use anyhow::{Context as _, Result, ensure};
use shim::layout::Watch;
use std::{collections::BTreeMap, env, time::Duration};
use tests::node::Node;

/// Of a hundred messages, those that must take the short way.
pub const MOST: u64 = 90;

/// Plays a program twice and puts what came of it into the table.
///
/// # Errors
/// It cannot be played on plain TCP; it differs from it; or less took the short way than must.
pub fn of(program: &Program) -> Result<()> {
    let mut node = Node::new("play")?;
    node.conf = conf();
    let plain = play(program, &node, false, |_| patience()).context("on plain TCP")?;
    for answer in &plain.answers {
        is_right(answer, &plain.sums)
            .with_context(|| format!("on plain TCP, {:?}: {}", answer.mode, answer.complained))?;
    }
    let took = |mode| {
        let plain = plain.answers.iter().find(|answer| answer.mode == mode);
        plain.map_or(Duration::ZERO, |answer| answer.took)
    };
    let shunted = play(program, &node, true, |mode| (patience() / 4).max(took(mode) * 10))
        .context("with shunt")?;
    let differs = differs(&plain, &shunted);
    let share = |mode| {
        let of = shunted.answers.iter().find(|answer| answer.mode == mode);
        of.and_then(|answer| answer.sent.share())
    };
    let [kept, new] = [Mode::Keep, Mode::Close].map(share);
    let watched = watched(&node)?;
    let must = must_take_part(program, &watched);
    table::add(&Row {
        program: *program,
        watched,
        kept,
        new,
        signs: shunted.signs.map(|signs| signs.into_iter().collect::<Vec<_>>().join(", ")),
        differs: differs.clone().unwrap_or_default(),
    })?;
    ensure!(differs.is_none(), "not as on plain TCP: {}", differs.unwrap_or_default());
    ensure!(
        !must || kept >= Some(MOST),
        "only {} of 100 messages took the short way",
        kept.unwrap_or_default()
    );
    if program.short {
        foretell::is_kept(program)?;
    }
    Ok(())
}

/// How programs are watched.
fn watched(node: &Node) -> Result<String> {
    let watch = node.datapath()?.node()?.watch;
    let ways = [Watch::Names, Watch::Fentry, Watch::Kprobe, Watch::Syscalls];
    let way = ways.iter().find(|way| **way as u64 == watch).context("watched how?")?;
    Ok(format!("{way:?}").to_lowercase())
}

/// Whether the most of its messages must take the short way. Where programs are known by name, who
/// is known is not this test's to say.
fn must_take_part(program: &Program, watched: &str) -> bool {
    let tame = match program.reader {
        // What this kernel's FIONREAD is worth, its own test says.
        Reader::Splices | Reader::CountsUnread => false,
        Reader::Sleeps => env::var("SHUNT_BLOCKING").is_ok_and(|value| value == "on"),
        _ => true,
    };
    tame && watched != "names"
}

/// What is different, shortly. None: nothing is.
fn differs(plain: &Play, shunted: &Play) -> Option<String> {
    plain.answers.iter().zip(&shunted.answers).find_map(|(plain, shunted)| {
        let way = match plain.mode {
            Mode::First => "first connection",
            Mode::Keep => "connections kept",
            Mode::Large => "2 MiB",
            Mode::Close => "new connections",
        };
        let lines = shunted.printed.lines().count();
        let why = match shunted.ended {
            None => format!("hangs after {lines} answers"),
            Some(status) if Some(status) != plain.ended => {
                format!("{status}: {}", shorten(shunted.complained.trim()))
            }
            Some(_) if plain.printed != shunted.printed => {
                let mut pairs = plain.printed.lines().zip(shunted.printed.lines());
                let pair = pairs.find(|(plain, shunted)| plain != shunted);
                let (item, other) = pair.unwrap_or(("all", "ends early"));
                format!("{}: {}", item.split(' ').next().unwrap_or(item), shorten(other))
            }
            Some(_) => return None,
        };
        Some(format!("{way}: {why}"))
    })
}

fn shorten(text: &str) -> String {
    let line = text.lines().last().unwrap_or_default().replace('|', "/");
    line.chars().take(100).collect()
}

/// Every file that the client was given or had back is the right one, and there is an answer.
fn is_right(answer: &Answer, sums: &BTreeMap<String, String>) -> Result<()> {
    let ended = answer.ended.context("hangs")?;
    ensure!(ended.success(), "{ended}");
    ensure!(!answer.printed.trim().is_empty(), "it prints nothing");
    for line in answer.printed.lines() {
        let (item, rest) = line.split_once(' ').unwrap_or((line, ""));
        let name = item.trim_start_matches('+').trim_start_matches("chunked/");
        if let Some(sum) = sums.get(name) {
            ensure!(rest == format!("{name} {sum}"), "{line}");
        }
    }
    Ok(())
}
