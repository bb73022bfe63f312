//! Whatever lies in the folder: installed and uninstalled it is as it was, byte for byte, and what is
//! not to be touched never was.

use std::{collections::BTreeMap, path::PathBuf};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{entry::Beside, removal::Removal, world::Found};

const DIR: &str = "/net.d";

#[derive(Clone, Debug, PartialEq)]
struct Folder(BTreeMap<PathBuf, String>);

impl Files for Folder {
    fn list(&self, folder: &Path) -> Result<Vec<Found>> {
        let below = self.0.keys().filter_map(|path| path.strip_prefix(folder).ok());
        let mut found: Vec<_> = below
            .filter_map(|below| {
                let mut parts = below.components();
                let path = folder.join(parts.next()?);
                let kind = if parts.next().is_some() { Kind::Folder } else { Kind::File };
                Some(Found { path, kind })
            })
            .collect();
        found.dedup();
        Ok(found)
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        Ok(self.0.get(path).map(|text| text.clone().into_bytes()))
    }

    fn has(&self, _: &Path) -> bool {
        true
    }
}

impl Folder {
    fn make(&mut self, changes: Vec<Change>) {
        for Change { path, before, after, .. } in changes {
            assert_eq!(self.0.get(&path), before.as_ref());
            match after {
                Some(after) => drop(self.0.insert(path, after)),
                None => drop(self.0.remove(&path)),
            }
        }
    }
}

fn gap() -> impl Strategy<Value = String> {
    proptest::sample::select(vec!["", "", " ", "\n", "\t", "\r\n  ", "\n    "]).prop_map(Into::into)
}

/// As JSON has them: also what nobody writes.
fn string() -> impl Strategy<Value = String> {
    let part = proptest::sample::select(vec![
        "a",
        "ß",
        "\\\"",
        "\\n",
        "\\u00e9",
        "{",
        "]",
        ",",
        "shunt",
        "type",
        ":",
        "𝄞",
        "\\\\",
        "\\ud834\\udd1e",
    ]);
    proptest::collection::vec(part, 0..5).prop_map(|parts| format!("\"{}\"", parts.concat()))
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        string(),
        proptest::sample::select(vec!["0", "-1.5e+10", "12345678901234567890", "true", "null"])
            .prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let member = (string(), inner.clone()).prop_map(|(key, value)| format!("{key}:{value}"));
        prop_oneof![
            (proptest::collection::vec(inner, 0..4), gap())
                .prop_map(|(all, gap)| { format!("[{gap}{}{gap}]", all.join(&format!("{gap},"))) }),
            (proptest::collection::vec(member, 0..4), gap()).prop_map(|(all, gap)| {
                format!("{{{gap}{}{gap}}}", all.join(&format!(",{gap}")))
            }),
        ]
    })
}

fn plugin() -> impl Strategy<Value = String> {
    let kind = proptest::sample::select(vec!["bridge", "ptp", "portmap", "shunts"]);
    (kind, value(), gap()).prop_map(|(kind, value, gap)| {
        format!("{{{gap}\"type\":{gap}\"{kind}\"{gap},\"x\":{value}{gap}}}")
    })
}

fn list() -> impl Strategy<Value = String> {
    let version =
        proptest::sample::select(vec!["0.3.1", "0.4.0", "1.0.0", "1.1.0", "0.2.0", "9.0.0"]);
    (proptest::collection::vec(plugin(), 0..4), version, value(), gap(), any::<bool>()).prop_map(
        |(plugins, version, value, gap, only)| {
            let plugins = plugins.join(&format!("{gap},{gap}"));
            format!(
                "{gap}{{\"cniVersion\":\"{version}\",{gap}\"x\":{value},\"loadOnlyInlinedPlugins\":{only},\
                 \"plugins\"{gap}:[{gap}{plugins}{gap}],\"name\":\"net\"}}{gap}"
            )
        },
    )
}

fn text() -> impl Strategy<Value = String> {
    let multus = (list(), list(), gap()).prop_map(|(one, two, gap)| {
        format!("{{\"cniVersion\":\"1.0.0\",\"name\":\"m\",\"type\":\"multus\",{gap}\"delegates\":[{one},{gap}{two}]}}")
    });
    let conf = plugin()
        .prop_map(|plugin| plugin.replacen('{', "{\"cniVersion\":\"1.0.0\",\"name\":\"net\",", 1));
    let whole = prop_oneof![4 => list(), 1 => multus, 1 => conf, 1 => value()];
    // And each of them with something cut out or changed.
    (whole, proptest::option::weighted(0.3, (any::<proptest::sample::Index>(), any::<bool>())))
        .prop_map(|(text, damage)| match damage {
            None => text,
            Some((at, cut)) => {
                let mut letters: Vec<char> = text.chars().collect();
                if !letters.is_empty() {
                    let at = at.index(letters.len());
                    if cut { letters.truncate(at) } else { letters[at] = '"' }
                }
                letters.into_iter().collect()
            }
        })
}

fn folder() -> impl Strategy<Value = Folder> {
    let name = proptest::sample::select(vec![
        "10-a.conflist",
        "20-b.conf",
        "30-c.json",
        "05-d.conflist.bak",
        "net/10-e.conf",
        "x/y/z.conflist",
    ]);
    proptest::collection::btree_map(name.prop_map(|name| Path::new(DIR).join(name)), text(), 1..4)
        .prop_map(Folder)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn installed_and_uninstalled_it_is_as_it_was(before in folder(), skips in any::<bool>()) {
        let spoken = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"].map(str::to_owned);
        let reader = Reader { net_dir: Path::new(DIR), bin_dir: Path::new("/bin"), spoken: &spoken, skips };
        let entry = json!({"type": "shunt", "excludedPorts": [1]});
        let wanted = Wanted { entry: entry.clone(), beside: Beside::Merged };
        let mut folder = before.clone();

        // A value by itself may be just what shunt's would be.
        let is_shunts = |text: &String| conflist::value(text).is_ok_and(|value| value["type"] == "shunt");
        prop_assume!(!folder.0.values().any(is_shunts));
        let removal = Removal::of(&folder, Path::new(DIR)).unwrap();
        prop_assert!(removal.changes.is_empty(), "nothing of shunt was there: {:?}", removal.changes);
        let Ok(plan) = reader.install(&folder, &wanted) else { return Ok(()) };
        folder.make(plan.changes);
        let own: Vec<_> = folder.0.values().filter_map(|text| {
            let value = conflist::value(text).ok()?;
            let lists = [&value].into_iter().chain(value["delegates"].as_array().into_iter().flatten());
            let plugins = lists.flat_map(|list| list["plugins"].as_array().into_iter().flatten());
            Some(plugins.chain([&value]).filter(|plugin| **plugin == entry).count())
        }).collect();
        // Multus has one in itself, and its daemon makes that from another file.
        prop_assert!(own.iter().all(|count| *count < 2), "twice: {:?}", folder);
        prop_assert!(own.contains(&1), "not at all: {:?}", folder);
        prop_assert!(reader.install(&folder, &wanted).unwrap().changes.is_empty(), "again");
        let removal = Removal::of(&folder, Path::new(DIR)).unwrap();
        prop_assert!(removal.entries.iter().all(|it| *it == entry));
        folder.make(removal.changes);
        prop_assert_eq!(folder, before);
    }
}
