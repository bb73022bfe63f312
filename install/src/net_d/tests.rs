use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _};

use serde_json::json;

use super::*;
use crate::{disk::Disk, entry::Beside, removal::Removal, world::Found};

/// The files of this machine, with every plugin there is.
struct Furnished;

impl Files for Furnished {
    fn list(&self, folder: &Path) -> Result<Vec<Found>> {
        Disk.list(folder)
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        Disk.read(path)
    }

    fn has(&self, _: &Path) -> bool {
        true
    }
}

type Tree = BTreeMap<PathBuf, (u32, String)>;

/// Every file below a folder: its mode and text.
fn tree(dir: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
                let text = fs::read_to_string(&path).unwrap();
                tree.insert(path.strip_prefix(dir).unwrap().to_owned(), (mode, text));
            }
        }
    }
    tree
}

fn copy(tree: &Tree, dir: &Path) {
    for (path, (mode, text)) in tree {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
    }
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let file = |(path, text): &(&str, &str)| (path.into(), (0o600, text.to_string()));
    copy(&files.iter().map(file).collect(), dir.path());
    dir
}

fn spoken() -> Vec<String> {
    ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"].map(str::to_owned).into()
}

fn entry() -> Value {
    json!({
        "type": "shunt",
        "capabilities": {
            "cgroupPath": true,
            "io.kubernetes.cri.pod-annotations": true,
            "bandwidth": true,
        },
    })
}

fn plan(dir: &Path, entry: &Value, keep: bool) -> Result<Vec<Change>, Unready> {
    let beside = if keep { Beside::Kept } else { Beside::Replaced };
    Ok(look(dir, &Wanted { entry: entry.clone(), beside }, false)?.changes)
}

fn look(dir: &Path, wanted: &Wanted, skips: bool) -> Result<Plan, Unready> {
    Reader { net_dir: dir, bin_dir: Path::new("/bin"), spoken: &spoken(), skips }
        .install(&Furnished, wanted)
}

fn uninstall(dir: &Path) -> Result<Removal> {
    Removal::of(&Disk, dir)
}

fn make(changes: &[Change]) {
    changes.iter().for_each(|change| drop(change.make().unwrap()));
}

/// Set `SHUNT_BLESS` to write what is expected anew, and then read it.
#[test]
fn fixtures() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let cases = fs::read_dir(fixtures).unwrap().map(|case| case.unwrap().path());
    for case in cases.filter(|case| case.is_dir()) {
        let name = case.display();
        let mut before = tree(&case.join("before"));
        before.values_mut().for_each(|(mode, _)| *mode = 0o640);
        let dir = tempfile::tempdir().unwrap();
        copy(&before, dir.path());

        make(&plan(dir.path(), &entry(), false).unwrap());
        if std::env::var_os("SHUNT_BLESS").is_some() {
            copy(&tree(dir.path()), &case.join("after"));
        }
        let mut after = tree(&case.join("after"));
        after.values_mut().for_each(|(mode, _)| *mode = 0o640);
        assert_eq!(tree(dir.path()), after, "{name}");
        assert_eq!(plan(dir.path(), &entry(), false).unwrap(), [], "{name}: again");

        let mut other = entry();
        other["accelerate"] = json!("off");
        assert_eq!(plan(dir.path(), &other, true).unwrap(), [], "{name}: keeps what is there");
        make(&plan(dir.path(), &other, false).unwrap());
        assert_ne!(tree(dir.path()), after, "{name}: replaced");
        make(&plan(dir.path(), &entry(), false).unwrap());
        assert_eq!(tree(dir.path()), after, "{name}: and back");

        let removal = uninstall(dir.path()).unwrap();
        assert!(removal.doubtful.is_empty() && !removal.entries.is_empty(), "{name}");
        make(&removal.changes);
        assert_eq!(tree(dir.path()), before, "{name}: uninstalled");
        assert_eq!(uninstall(dir.path()).unwrap().changes, [], "{name}: twice");
    }
}

const LIST: &str = r#"{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "bridge"}]}"#;

#[test]
fn what_cannot_be_used_is_left_alone() {
    let corrupt = [
        "",
        "{",
        "[]",
        "null",
        "{}",
        "\u{feff}{}",
        &LIST[..LIST.len() - 1],
        &format!("{LIST}}}"),
        r#"{"cniVersion": "1.0.0", "name": "net", "plugins": []}"#,
        r#"{"cniVersion": "1.0.0", "name": "net", "plugins": {}}"#,
        r#"{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "a"}], "plugins": [{"type": "b"}]}"#,
        // A version that shunt does not speak fails its pods.
        r#"{"cniVersion": "0.2.0", "name": "net", "plugins": [{"type": "bridge"}]}"#,
        r#"{"name": "net", "plugins": [{"type": "bridge"}]}"#,
        r#"{"cniVersion": "1.0.0", "cniVersions": ["9.0.0"], "name": "net", "plugins": [{"type": "b"}]}"#,
    ];
    for text in corrupt {
        for file in ["10-net.conflist", "10-net.conf"] {
            let dir = folder(&[(file, text), ("20-other.conflist", LIST)]);
            let before = tree(dir.path());
            let unready = plan(dir.path(), &entry(), false).unwrap_err();
            assert!(matches!(unready, Unready::Unusable { .. }), "{text}: {unready}");
            make(&uninstall(dir.path()).unwrap().changes);
            assert_eq!(tree(dir.path()), before);
        }
    }
}

#[test]
fn the_first_by_name_is_used_whatever_its_extension() {
    let conf = r#"{"cniVersion": "1.0.0", "name": "net", "type": "bridge"}"#;
    for (files, changed) in [
        (vec![("20-b.conflist", LIST), ("10-a.conflist", LIST)], "10-a.conflist"),
        (vec![("10-a.conflist", LIST), ("10-a.conf", conf)], "10-a.-shunt.conflist"),
        (vec![("09-z.json", conf), ("10-a.conflist", LIST)], "09-z.-shunt.conflist"),
        (vec![("01-x.txt", "?"), ("02-x.conf.bak", "?"), ("b.conflist", LIST)], "b.conflist"),
    ] {
        let dir = folder(&files);
        make(&plan(dir.path(), &entry(), false).unwrap());
        let changed = dir.path().join(changed);
        assert_eq!(self::files(&Disk, dir.path(), &EXTENSIONS).unwrap()[0], changed, "{files:?}");
        let text = fs::read_to_string(changed).unwrap();
        assert_eq!(conflist::entries(&text).unwrap(), [entry()]);
    }
    let empty = tempfile::tempdir().unwrap();
    for dir in [empty.path(), &empty.path().join("missing")] {
        assert!(matches!(plan(dir, &entry(), false), Err(Unready::NoPrimary(_))));
    }
}

#[test]
fn a_list_made_from_a_conf_goes_with_it() {
    let conf = r#"{"cniVersion": "1.0.0", "name": "net", "type": "bridge"}"#;
    let dir = folder(&[("10-a.conf", conf), ("20-b.conflist", LIST)]);
    make(&plan(dir.path(), &entry(), false).unwrap());
    fs::write(dir.path().join("10-a.conf"), conf.replace("bridge", "ptp")).unwrap();
    make(&plan(dir.path(), &entry(), true).unwrap());
    let list = dir.path().join("10-a.-shunt.conflist");
    assert!(fs::read_to_string(&list).unwrap().contains("ptp"), "made anew");
    fs::remove_file(dir.path().join("10-a.conf")).unwrap();
    make(&plan(dir.path(), &entry(), true).unwrap());
    assert!(!list.exists());
    assert!(fs::read_to_string(dir.path().join("20-b.conflist")).unwrap().contains("shunt"));
}

#[test]
fn what_others_put_into_a_made_list_stays() {
    let conf = r#"{"cniVersion": "1.0.0", "name": "net", "type": "bridge"}"#;
    let dir = folder(&[("10-a.conf", conf), ("net/10.conf", r#"{"type": "tuning"}"#)]);
    let list = dir.path().join("10-a.-shunt.conflist");
    let kinds = || -> Vec<Value> {
        let list = conflist::value(&fs::read_to_string(&list).unwrap()).unwrap();
        list["plugins"].as_array().unwrap().iter().map(|it| it["type"].clone()).collect()
    };
    make(&plan(dir.path(), &entry(), false).unwrap());
    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, text.replace("\n  ]", ",{\"type\": \"istio-cni\"}]")).unwrap();
    assert_eq!(plan(dir.path(), &entry(), true).unwrap(), []);
    fs::write(dir.path().join("10-a.conf"), conf.replace("bridge", "ptp")).unwrap();
    make(&plan(dir.path(), &entry(), true).unwrap());
    assert_eq!(kinds(), ["ptp", "shunt", "istio-cni"]);
    fs::write(dir.path().join("10-a.conf"), "{").unwrap();
    assert_eq!(plan(dir.path(), &entry(), true).unwrap(), [], "it is half written");
    make(&uninstall(dir.path()).unwrap().changes);
    assert_eq!(kinds(), ["ptp", "istio-cni"]);
    fs::remove_file(dir.path().join("10-a.conf")).unwrap();
    make(&plan(dir.path(), &entry(), false).unwrap());
    assert_eq!(kinds(), ["ptp", "istio-cni", "shunt"]);
}

#[test]
fn the_own_folder_of_a_list_that_does_not_read_it_is_not_looked_at() {
    let only = LIST.replace("\"plugins\"", "\"loadOnlyInlinedPlugins\": \"True\", \"plugins\"");
    let dir = folder(&[("10-a.conflist", &only), ("net/10.conf", r#"{"type": "tuning"}"#)]);
    make(&plan(dir.path(), &entry(), false).unwrap());
    assert!(fs::read_to_string(dir.path().join("10-a.conflist")).unwrap().contains("shunt"));
    assert!(!dir.path().join("net").join(drop_in::DROP_IN).exists());
    // Nor that of a list that libcni does not load.
    let none = LIST.replace("{\"type\": \"bridge\"}", "");
    let dir = folder(&[("10-a.conflist", &none), ("net/10.conf", r#"{"type": "tuning"}"#)]);
    assert!(plan(dir.path(), &entry(), false).unwrap_err().to_string().contains("are none"));
}

#[test]
fn multus_network_from_elsewhere_is_told() {
    let multus =
        r#"{"cniVersion": "1.0.0", "name": "m", "type": "multus", "clusterNetwork": "crd"}"#;
    let dir = folder(&[("00-multus.conf", multus), ("10-net.conflist", LIST)]);
    let unready = plan(dir.path(), &entry(), false).unwrap_err().to_string();
    assert!(unready.contains("from elsewhere"), "{unready}");
    let dir =
        folder(&[("00-multus.conf", &multus.replace("crd", "net")), ("10-net.conflist", LIST)]);
    make(&plan(dir.path(), &entry(), false).unwrap());
    assert!(fs::read_to_string(dir.path().join("10-net.conflist")).unwrap().contains("shunt"));
}

#[test]
fn an_unreadable_file_that_names_shunt_is_doubtful() {
    let half = r#"{"cniVersion": "1.0.0", "plugins": [{"type": "shunt"}, "#;
    let dir = folder(&[("10-a.conflist", LIST), ("20-b.conflist", half)]);
    assert_eq!(uninstall(dir.path()).unwrap().doubtful.len(), 1);
}

#[test]
fn keys_of_an_entry_that_was_there_are_kept_or_named() {
    let old = r#"{"type": "shunt", "excludedPorts": [80], "pinPath": "/x", "capabilities": {"own": true}}"#;
    let list = LIST.replace("]}", &format!(", {old}]}}"));
    let dir = folder(&[("10-a.conflist", &list)]);
    let wanted = |beside| Wanted { entry: entry(), beside };
    let plan = look(dir.path(), &wanted(Beside::Merged), false).unwrap();
    let mut capabilities = entry()["capabilities"].clone();
    capabilities["own"] = json!(true);
    let merged = json!({"type": "shunt", "excludedPorts": [80], "capabilities": capabilities});
    assert_eq!(plan.entry, merged);
    assert_eq!(plan.lost, ["pinPath: \"/x\""]);
    let plan = look(dir.path(), &wanted(Beside::Replaced), false).unwrap();
    assert_eq!((plan.entry, plan.lost.len()), (entry(), 2));
    let plan = look(dir.path(), &wanted(Beside::Kept), false).unwrap();
    assert_eq!((plan.changes.len(), plan.lost.len()), (0, 0));
}

#[test]
fn a_drop_in_by_hand_is_found_and_no_second_one_made() {
    let own = r#"{"type": "shunt", "excludedPorts": [80]}"#;
    for others in [vec![], vec![("net/50-tuning.conf", r#"{"type": "tuning"}"#)]] {
        let mut files = vec![("10-a.conflist", LIST), ("net/90-shunt.conf", own)];
        files.extend(&others);
        let dir = folder(&files);
        let wanted = Wanted { entry: entry(), beside: Beside::Merged };
        make(&look(dir.path(), &wanted, false).unwrap().changes);
        let text = |path| fs::read_to_string(dir.path().join(path)).unwrap_or_default();
        let named = ["10-a.conflist", "net/90-shunt.conf", "net/zz-shunt.conf"].map(text);
        let named: Vec<_> = named.iter().filter(|text| text.contains("shunt")).collect();
        assert!(matches!(named[..], [one] if one.contains("excludedPorts")), "{named:?}");
        make(&uninstall(dir.path()).unwrap().changes);
        files.retain(|(path, _)| !path.contains("shunt"));
        assert_eq!(tree(dir.path()), tree(folder(&files).path()));
    }
}

#[test]
fn an_empty_file_before_the_list() {
    let dir = folder(&[("00-x.conf", ""), ("10-a.conflist", LIST)]);
    let wanted = Wanted { entry: entry(), beside: Beside::Merged };
    let unready = look(dir.path(), &wanted, false).unwrap_err().to_string();
    assert!(unready.contains("00-x.conf") && unready.contains("is empty"), "{unready}");
    let plan = look(dir.path(), &wanted, true).unwrap();
    assert!(plan.primary.ends_with("10-a.conflist") && plan.skipped[0].contains("is empty"));
    assert!(uninstall(dir.path()).unwrap().doubtful.is_empty());
}

#[test]
fn what_names_shunt_where_it_cannot_be_taken_out_is_doubtful() {
    let deep = LIST.replace("\"bridge\"", r#""bridge", "delegate": {"Type": "shunt"}"#);
    for (path, text, doubtful) in [
        ("10-a.conflist", &*deep, 1),
        ("multus.d/net.json", &*deep, 1),
        ("a/b/c/d.bak", &*deep, 1),
        ("a/b/c/d.bak", r#"[{"type": "shunt"}"#, 1),
        ("10-a.conflist", "{", 1),
        ("10-a.conflist", r#"{"name": "n", "plugins": [{"type": "shunt"}]}"#, 1),
        ("10-a.-shunt.conflist", r#"{"name": "n", "plugins": [{"type": "shunt"}]}"#, 1),
        ("10-a.conflist", r#"{"plugins": [{"type": "a"}], "x": {"type": "shunt"}}"#, 1),
        ("kubeconfig", "users:\n- name: shunt", 0),
        ("10-a.conflist.bak", LIST, 0),
    ] {
        let dir = folder(&[(path, text)]);
        let before = tree(dir.path());
        let removal = uninstall(dir.path()).unwrap();
        assert_eq!(
            (removal.doubtful.len(), removal.changes.len()),
            (doubtful, 0),
            "{path}: {text}"
        );
        assert_eq!(tree(dir.path()), before);
    }
    for (target, doubtful) in [("gone", 1), ("/dev/null", 1)] {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(target, dir.path().join("10-a.conflist")).unwrap();
        assert_eq!(uninstall(dir.path()).unwrap().doubtful.len(), doubtful, "{target}");
    }
}

#[test]
fn taken_out_wherever_a_runtime_could_find_it() {
    let with = LIST.replace("]}", r#", {"type": "shunt"}]}"#);
    let multus = r#"{"name": "m", "type": "multus", "delegates": [A, B]}"#;
    let multus = |second: &str| multus.replace('A', LIST).replace('B', second);
    for (path, before, after) in [
        ("10-a.conflist.cilium_bak", with.clone(), LIST.to_owned()),
        ("00-multus.conf", multus(&with), multus(LIST)),
        ("set/aside/10-a.conflist", with.clone(), LIST.to_owned()),
    ] {
        let dir = folder(&[(path, &before)]);
        let removal = uninstall(dir.path()).unwrap();
        assert!(removal.doubtful.is_empty() && removal.entries.len() == 1, "{path}");
        make(&removal.changes);
        assert_eq!(fs::read_to_string(dir.path().join(path)).unwrap(), after);
    }
}
