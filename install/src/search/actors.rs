//! Who changes a node, and from what: the searches.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::{
    Program,
    model::SETTLE,
    node::{NET_D, NET_E, Node, Plugin},
    search, then,
};
use crate::{
    conflist,
    drain::Patience,
    entry::{Beside, Wanted},
    install::{Order, Report},
    keeper::{Keeper, LOOK},
    net_d::Reader,
    uninstall::{self, Leave},
    world::World as _,
};

pub const LIST: &str = "/net.d/10-a.conflist";
const LIST_E: &str = "/net.e/10-a.conflist";
const OTHER: &str = "/net.d/20-b.conflist";
const ASIDE: &str = "/net.d/10-a.conflist.cilium_bak";
const TEXT: &str = r#"{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"bridge"}]}"#;
/// In a list that was renamed to its place.
pub const NEWER: &str = r#""mtu":1400"#;

pub fn wanted() -> Wanted {
    Wanted { entry: json!({"type": "shunt"}), beside: Beside::Merged }
}

pub fn spoken() -> Vec<String> {
    vec!["1.0.0".into()]
}

fn install(wait: Duration) -> Program {
    Box::new(move |node| {
        let (spoken, wanted) = (spoken(), wanted());
        let reader = Reader {
            net_dir: Path::new(node.net_dir()),
            bin_dir: Path::new("/bin"),
            spoken: &spoken,
            skips: false,
        };
        let order = Order { reader, wanted: &wanted, wait, must_accelerate: false };
        let _ = order.put(node, &mut Report::new(node));
    })
}

fn uninstall(settle: Duration) -> Program {
    Box::new(move |node| {
        let patience = Patience::default();
        let net_dir = Path::new(node.net_dir());
        let leave = Leave {
            net_dir,
            settle,
            patience,
            keep_binary: false,
            is_gone: false,
            needed_by: &Vec::new,
        };
        let _ =
            leave.take_off(node, &mut uninstall::Report::default(), |_: &[Value]| Ok(Vec::new()));
    })
}

/// So many looks.
fn watch(looks: usize) -> Program {
    Box::new(move |node| {
        let spoken = spoken();
        let reader = Reader {
            net_dir: Path::new(node.net_dir()),
            bin_dir: Path::new("/bin"),
            spoken: &spoken,
            skips: false,
        };
        let mut keeper = Keeper::new(wanted());
        for _ in 0..looks {
            keeper.keep(node, &reader, &mut Duration::from_secs(60), true);
            node.rest(LOOK);
        }
    })
}

/// A primary that truncates its list and writes it.
fn primary() -> Program {
    Box::new(|node| {
        node.foreign("truncate", |node, _| drop(node.files.insert(LIST.into(), String::new())));
        node.foreign("write", |node, _| drop(node.files.insert(LIST.into(), TEXT.into())));
    })
}

/// One that writes its list elsewhere and renames it.
fn renaming_primary() -> Program {
    Box::new(|node| {
        node.foreign("rename", |node, _| {
            let newer = TEXT.replacen("bridge\"", &format!("bridge\",{NEWER}"), 1);
            node.files.insert(LIST.into(), newer);
            node.renamed += 1;
        });
    })
}

/// As another version of shunt.
fn newer(program: Program) -> Program {
    Box::new(move |node| {
        node.be_version(1);
        program(node);
    })
}

/// For the other runtime.
fn other(program: Program) -> Program {
    Box::new(move |node| {
        node.be_at(NET_E);
        program(node);
    })
}

/// Another installer, as Istio's: it reads the list, and writes it with a plugin of its own.
fn installer() -> Program {
    Box::new(|node| {
        let text = node.foreign_read(Path::new(LIST));
        let text = text.filter(|text| conflist::Conf::parse(text).is_ok());
        let own = text.map(|text| text.replacen("]}", r#",{"type":"istio-cni"}]}"#, 1));
        node.foreign("write it back", |node, process| {
            node.reading.remove(&process);
            node.files.extend(own.map(|own| (LIST.into(), own)));
        });
    })
}

/// A rival that sets the list aside for its own, and takes that back.
fn rival() -> Program {
    let rename = |node: &mut Node, from: &str, to: &str| {
        let text = node.files.remove(Path::new(from));
        node.files.extend(text.map(|text| (to.into(), text)));
    };
    Box::new(move |node| {
        node.foreign("set aside", |node, _| rename(node, LIST, ASIDE));
        node.foreign("its own", |node, _| drop(node.files.insert(OTHER.into(), TEXT.into())));
        node.foreign("take back", |node, _| rename(node, ASIDE, LIST));
    })
}

fn bare() -> Node {
    Node { files: [(LIST.into(), TEXT.into())].into(), ..Node::default() }
}

fn installed() -> Node {
    let text = conflist::with_entry(TEXT, &wanted().entry).unwrap();
    Node {
        files: [(LIST.into(), text)].into(),
        plugin: Plugin::Runs,
        pins: true,
        lock_file: true,
        claim: Some([NET_D].into()),
        net_dirs: [NET_D].into(),
        ..Node::default()
    }
}

/// For both runtimes, after what loses what is below /run.
fn rebooted() -> Node {
    let mut node = Node { claim: None, net_dirs: [NET_D, NET_E].into(), ..installed() };
    let text = node.files[Path::new(LIST)].clone();
    node.files.insert(LIST_E.into(), text);
    node
}

const WAIT: Duration = Duration::from_millis(400);

#[test]
fn every_list_can_be_run_at_every_moment() {
    let start = std::time::Instant::now();
    let empty = || Node::default();
    let broken = || Node { plugin: Plugin::Broken, ..bare() };
    let none = Duration::ZERO;
    type Case = (&'static str, Node, Vec<(&'static str, Program)>);
    let cases: Vec<Case> = vec![
        ("A", installed(), vec![("uninstall", uninstall(SETTLE)), ("install", install(none))]),
        (
            "B",
            empty(),
            vec![
                ("install", install(WAIT)),
                ("uninstall", uninstall(none)),
                ("foreign primary", primary()),
            ],
        ),
        (
            "G",
            broken(),
            vec![("install", install(none)), ("watch", watch(1)), ("uninstall", uninstall(none))],
        ),
        ("E", installed(), vec![("uninstall", uninstall(SETTLE)), ("foreign rival", rival())]),
        (
            "two of each",
            installed(),
            vec![
                ("uninstall", uninstall(none)),
                ("install", install(none)),
                ("another uninstall", uninstall(none)),
            ],
        ),
        (
            "a primary that rewrites",
            installed(),
            vec![
                ("watch", watch(2)),
                ("foreign primary", primary()),
                ("uninstall", uninstall(SETTLE)),
            ],
        ),
        (
            "another installer",
            installed(),
            vec![
                ("watch", watch(1)),
                ("foreign installer", installer()),
                ("uninstall", uninstall(SETTLE)),
            ],
        ),
        (
            "a primary that renames",
            installed(),
            vec![
                ("watch", watch(1)),
                ("foreign primary", renaming_primary()),
                ("uninstall", uninstall(SETTLE)),
                ("install", install(none)),
            ],
        ),
        (
            "two versions",
            Node { installed: Some(0), ..installed() },
            vec![
                ("watch", watch(1)),
                ("install of another", newer(install(none))),
                ("watch of another", newer(watch(1))),
                ("uninstall", uninstall(none)),
            ],
        ),
        (
            "two runtimes and no claim",
            rebooted(),
            vec![
                ("uninstall", uninstall(none)),
                ("uninstall of the other", other(uninstall(none))),
                ("install", install(none)),
            ],
        ),
        (
            "two runtimes and a claim that says nothing",
            Node { claim: Some([].into()), ..rebooted() },
            vec![
                ("uninstall", uninstall(none)),
                ("watch of the other", other(watch(1))),
                ("install of the other", other(install(none))),
            ],
        ),
        (
            "all at once",
            installed(),
            vec![
                ("watch", watch(1)),
                ("foreign installer", installer()),
                ("foreign primary", primary()),
                ("uninstall", uninstall(SETTLE)),
                ("install", install(none)),
            ],
        ),
    ];
    let mut all = 0;
    for (name, node, programs) in cases {
        let states =
            search(node, programs, 1, true).unwrap_or_else(|found| panic!("{name}: {found}"));
        println!("{name}: {states} states, {:.1} s so far", start.elapsed().as_secs_f32());
        all += states;
    }
    println!("{all} states");
}

/// What the search is for: the commands as they were are found out.
#[test]
fn finds_what_went_wrong_before() {
    let a = vec![("uninstall", then::uninstall()), ("install", then::install(Duration::ZERO))];
    let b = vec![
        ("install", then::install(WAIT)),
        ("uninstall", then::uninstall()),
        ("foreign primary", primary()),
    ];
    let c = vec![("uninstall", then::uninstall())];
    let cases = [("A", installed(), a), ("B", Node::default(), b), ("C", rebooted(), c)];
    for (name, node, programs) in cases {
        let found = search(node, programs, 0, false).unwrap_err();
        assert!(found.contains("names a plugin that cannot run"), "{name}: {found}");
        println!("{name}: {found}");
    }
}
