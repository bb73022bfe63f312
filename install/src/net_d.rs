//! The folder where a runtime finds its network, and what is to change there.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;

use crate::{
    change::Change,
    conflist::{self, Conf, SHUNT},
};

/// What runtimes look at, first by name, whatever the extension (go-cni's loadFromConfDir).
const EXTENSIONS: [&str; 3] = ["conf", "conflist", "json"];
/// Between a conf's name and `.conflist`: the list that shunt makes of it, by its name before it.
const DERIVED: &str = ".-shunt";
/// Shunt's file in a list's own folder, where libcni (1.3 and later) reads `.conf` by name.
const DROP_IN: &str = "zz-shunt.conf";

/// Why there is nothing to be done yet.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    #[error("{} has no network configuration yet", .0.display())]
    NoPrimary(PathBuf),
    #[error("{} is left as it is: {why:#}", path.display())]
    Unusable { path: PathBuf, why: anyhow::Error },
    #[error("{0:#}")]
    Io(anyhow::Error),
}

/// What pods' networks are made from.
pub struct Plan {
    /// The file that a runtime uses.
    pub primary: PathBuf,
    pub changes: Vec<Change>,
}

/// Text of a file that is a configuration; where it is, tells the error.
fn read(path: &Path) -> Result<String, Unready> {
    let unusable = |why| Unready::Unusable { path: path.to_owned(), why };
    let text = fs::read(path).map_err(|error| unusable(error.into()))?;
    let text = String::from_utf8(text).map_err(|error| unusable(error.into()))?;
    Conf::parse(&text).map_err(unusable)?;
    Ok(text)
}

/// Files with one of these extensions, by name as bytes. No folder: none.
fn files(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, Unready> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries,
    };
    let entries = entries.and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let entries = entries.with_context(|| folder.display().to_string()).map_err(Unready::Io)?;
    let mut files: Vec<_> = entries
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            extension.is_some_and(|extension| extensions.contains(&extension)) && !path.is_dir()
        })
        .collect();
    files.sort();
    Ok(files)
}

/// A runtime that looks for plugins elsewhere would not find shunt, and fail every pod.
///
/// # Errors
/// [`Unready`]: what that file names first is not in the folder.
pub fn calls_from(bin_dir: &Path, primary: &Path) -> Result<(), Unready> {
    let text = read(primary)?;
    let unusable = |why| Unready::Unusable { path: primary.to_owned(), why };
    let first = Conf::parse(&text).map_err(unusable)?.first_plugin();
    match first.filter(|first| !bin_dir.join(first).exists()) {
        None => Ok(()),
        Some(first) => Err(unusable(anyhow!(
            "its `{first}` is not in {}; --bin-dir says where the runtime looks for plugins",
            bin_dir.display()
        ))),
    }
}

fn is_derived(path: &Path) -> bool {
    path.to_string_lossy().ends_with(&format!("{DERIVED}.conflist"))
}

fn change(
    path: &Path,
    before: Option<String>,
    after: Option<String>,
    like: &Path,
) -> Option<Change> {
    let (path, like) = (path.to_owned(), like.to_owned());
    (before != after).then_some(Change { path, before, after, like })
}

/// What puts the entry where the node's pods get their network. `spoken` are the versions of CNI
/// that shunt knows: a list of another would fail its pods. With `keep`, an entry that is there
/// already is not replaced.
///
/// # Errors
/// [`Unready`]: nothing is to be touched now.
pub fn install(dir: &Path, entry: &Value, keep: bool, spoken: &[String]) -> Result<Plan, Unready> {
    let (derived, files): (Vec<_>, Vec<_>) =
        files(dir, &EXTENSIONS)?.into_iter().partition(|path| is_derived(path));
    let primary = files.first().ok_or_else(|| Unready::NoPrimary(dir.to_owned()))?;
    let text = read(primary)?;
    let unusable = |why| Unready::Unusable { path: primary.clone(), why };
    let mut changes = Vec::new();
    let conf = Conf::parse(&text).map_err(unusable)?;
    let mut own_list = None;
    if conf.is_list() || primary.extension().is_some_and(|extension| extension == "conflist") {
        changes.extend(in_list(dir, primary, text.clone(), entry, keep, spoken)?);
    } else if conf.is_multus() {
        let source = multus_source(&files[1..], &conf).map_err(unusable)?;
        if conf.delegate().is_some() {
            let add = |list: &str| with_entry(list, entry, keep, spoken);
            let after = conflist::in_delegate(&text, add).map_err(unusable)?;
            changes.extend(change(primary, Some(text.clone()), Some(after), primary));
        }
        if let Some(source) = source {
            let text = read(&source)?;
            changes.extend(in_list(dir, &source, text, entry, keep, spoken)?);
        }
    } else {
        let path = primary.with_extension(format!("{}.conflist", &DERIVED[1..]));
        let before = read(&path).ok();
        // An entry that is to be kept is in the list that was made before.
        let kept =
            before.as_ref().filter(|_| keep).and_then(|list| conflist::entries(list).ok()?.pop());
        let list = conflist::list_of(&text).map_err(unusable)?;
        let after = with_entry(&list, kept.as_ref().unwrap_or(entry), false, spoken);
        changes.extend(change(&path, before, Some(after.map_err(unusable)?), primary));
        own_list = Some(path);
    }
    // Made from a conf that is gone, it would hide what its network is now.
    for path in derived.into_iter().filter(|path| own_list.as_ref() != Some(path)) {
        let before = read(&path).unwrap_or_default();
        changes.extend(change(&path, Some(before), None, &path));
    }
    Ok(Plan { primary: primary.clone(), changes })
}

fn with_entry(list: &str, entry: &Value, keep: bool, spoken: &[String]) -> Result<String> {
    speaks(&Conf::parse(list)?, spoken)?;
    match conflist::entries(list)?.pop().filter(|_| keep) {
        Some(kept) => conflist::with_entry(list, &kept),
        None => conflist::with_entry(list, entry),
    }
}

fn speaks(list: &Conf, spoken: &[String]) -> Result<()> {
    let version = list.newest_version();
    ensure!(spoken.contains(&version), "its cniVersion is {version:?}, which shunt does not speak");
    Ok(())
}

/// In the list itself, or behind the plugins in its folder, where there are such.
fn in_list(
    dir: &Path,
    path: &Path,
    text: String,
    entry: &Value,
    keep: bool,
    spoken: &[String],
) -> Result<Vec<Change>, Unready> {
    let unusable = |why| Unready::Unusable { path: path.to_owned(), why };
    let conf = Conf::parse(&text).map_err(unusable)?;
    let folder = drop_ins(dir, &conf)?;
    let own = folder.iter().find(|file| file.ends_with(DROP_IN));
    let before = own.map(|own| read(own)).transpose()?;
    if folder.len() == usize::from(own.is_some()) {
        let list = with_entry(&text, entry, keep, spoken).map_err(unusable)?;
        let list = change(path, Some(text), Some(list), path);
        let file = own.and_then(|own| change(own, before, None, own));
        return Ok(list.into_iter().chain(file).collect());
    }
    speaks(&conf, spoken).map_err(unusable)?;
    let after = match &before {
        Some(before) if keep => before.clone(),
        _ => conflist::file_of(entry),
    };
    let file = dir.join(&conf.name).join(DROP_IN);
    let file = change(&file, before, Some(after), path);
    let list = conflist::without_entry(&text).map_err(unusable)?;
    Ok(file.into_iter().chain(change(path, Some(text), Some(list), path)).collect())
}

/// The plugins in a list's own folder.
fn drop_ins(dir: &Path, list: &Conf) -> Result<Vec<PathBuf>, Unready> {
    let is_name = !list.name.is_empty() && !list.name.contains('/') && !list.name.starts_with('.');
    if !is_name || !list.reads_folder() {
        return Ok(Vec::new());
    }
    files(&dir.join(&list.name), &["conf"])
}

/// The file that Multus makes its delegate from, or reads it from. Beside a delegate that it has
/// in itself there may be none.
fn multus_source(others: &[PathBuf], multus: &Conf) -> Result<Option<PathBuf>> {
    let wanted = multus.cluster_network.as_deref();
    let named = match (wanted, multus.delegate()) {
        (Some(wanted), _) => wanted.to_owned(),
        (None, Some(delegate)) => Conf::parse(delegate)?.name,
        (None, None) => return Err(anyhow!("Multus names no network of its own in it")),
    };
    let source = others.iter().find(|path| {
        // Its path is that of Multus' container.
        let by_path = named.contains('/') && path.file_name() == Path::new(&named).file_name();
        let is_named = |text: String| Conf::parse(&text).is_ok_and(|conf| conf.name == named);
        by_path || read(path).is_ok_and(is_named)
    });
    ensure!(
        source.is_some() || wanted.is_none(),
        "Multus takes its network {named:?} from elsewhere: add shunt's entry there"
    );
    Ok(source.cloned())
}

/// What takes every entry out, and what was left as it cannot be read.
pub struct Removal {
    pub changes: Vec<Change>,
    /// The entries that will be gone.
    pub entries: Vec<Value>,
    /// Files that cannot be read and yet name shunt.
    pub doubtful: Vec<Unready>,
}

/// # Errors
/// The folder cannot be read.
pub fn uninstall(dir: &Path) -> Result<Removal, Unready> {
    let mut removal = Removal { changes: Vec::new(), entries: Vec::new(), doubtful: Vec::new() };
    for path in files(dir, &EXTENSIONS)? {
        let text = match read(&path) {
            Ok(text) => text,
            Err(unready) => {
                let bytes = fs::read(&path).unwrap_or_default();
                if String::from_utf8_lossy(&bytes).contains(&format!("\"{SHUNT}\"")) {
                    removal.doubtful.push(unready);
                }
                continue;
            }
        };
        let unusable = |why| Unready::Unusable { path: path.clone(), why };
        removal.entries.extend(conflist::entries(&text).map_err(unusable)?);
        let without = |list: &str| conflist::without_entry(list);
        let after = conflist::in_delegate(&text, without).and_then(|text| without(&text));
        let after = Some(after.map_err(unusable)?).filter(|_| !is_derived(&path));
        removal.changes.extend(change(&path, Some(text), after, &path));
    }
    // Also of lists that are gone.
    let folders = fs::read_dir(dir).into_iter().flatten().flatten();
    for file in folders.map(|folder| folder.path().join(DROP_IN)).filter(|file| file.exists()) {
        let before = fs::read_to_string(&file).unwrap_or_default();
        removal.entries.extend(serde_json::from_str::<Value>(&before));
        removal.changes.extend(change(&file, Some(before), None, &file));
    }
    Ok(removal)
}

/// Shunt's entry in the first list that has one, with the keys that a runtime adds to it.
///
/// # Errors
/// The folder cannot be read, or no list has it.
pub fn entry(dir: &Path) -> Result<Value> {
    for path in files(dir, &EXTENSIONS)? {
        // What cannot be read a runtime does not use either.
        let Ok(text) = read(&path) else { continue };
        let conf = Conf::parse(&text)?;
        let mut entries = conflist::entries(&text)?;
        let drop_in = fs::read(dir.join(&conf.name).join(DROP_IN)).unwrap_or_default();
        entries
            .extend(serde_json::from_slice::<Value>(&drop_in).ok().filter(|_| conf.reads_folder()));
        if let Some(mut entry) = entries.into_iter().next() {
            entry["name"] = Value::from(&*conf.name);
            entry["cniVersion"] = conf.newest_version().into();
            return Ok(entry);
        }
    }
    Err(anyhow!("no list in {} has an entry of shunt", dir.display()))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, os::unix::fs::PermissionsExt as _};

    use serde_json::json;

    use super::*;

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
        Ok(install(dir, entry, keep, &spoken())?.changes)
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
            assert_eq!(self::files(dir.path(), &EXTENSIONS).unwrap()[0], changed, "{files:?}");
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
    fn the_own_folder_of_a_list_that_does_not_read_it_is_not_looked_at() {
        let only = LIST.replace("\"plugins\"", "\"loadOnlyInlinedPlugins\": \"True\", \"plugins\"");
        let dir = folder(&[("10-a.conflist", &only), ("net/10.conf", r#"{"type": "tuning"}"#)]);
        make(&plan(dir.path(), &entry(), false).unwrap());
        assert!(fs::read_to_string(dir.path().join("10-a.conflist")).unwrap().contains("shunt"));
        assert!(!dir.path().join("net").join(DROP_IN).exists());
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
}
