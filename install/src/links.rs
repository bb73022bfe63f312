//! Which folders are to be watched to hear of a change of what is at a path, also where it is reached
//! by links (path_resolution(7)).

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

/// As many links as the kernel follows.
const MOST: usize = 40;

/// The folder that it is in, and those of all links on the way. Where something is missing, the
/// folder where it would be made.
pub fn folders(path: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    follow(path, &mut folders, MOST);
    folders
}

fn follow(path: &Path, folders: &mut BTreeSet<PathBuf>, links: usize) {
    let mut at = PathBuf::new();
    let mut rest = path.components();
    while let Some(component) = rest.next() {
        match component {
            Component::ParentDir => drop(at.pop()),
            component => at.push(component),
        }
        let Ok(file) = fs::symlink_metadata(&at) else {
            folders.extend(at.parent().map(Path::to_owned));
            return;
        };
        if file.is_symlink() {
            let folder = at.parent().unwrap_or(Path::new("/")).to_owned();
            let target = fs::read_link(&at).map(|target| folder.join(target).join(rest.as_path()));
            folders.insert(folder);
            if let (Ok(target), true) = (target, links > 0) {
                follow(&target, folders, links - 1);
            }
            return;
        }
        if rest.as_path().as_os_str().is_empty() {
            folders.extend(at.parent().map(Path::to_owned));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn of_every_link_on_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().canonicalize().unwrap().join(path);
        let of = |path: &str| folders(&at(path));
        let set = |paths: &[&str]| paths.iter().map(|path| at(path)).collect::<BTreeSet<_>>();
        for folder in ["a/net.d", "b", "c"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(at("c/list"), "").unwrap();
        symlink("../../c/list", at("a/net.d/list")).unwrap();
        symlink(at("a/net.d"), at("b/net.d")).unwrap();
        symlink("circle", at("b/circle")).unwrap();
        assert_eq!(of("c/list"), set(&["c"]));
        assert_eq!(of("a/net.d/list"), set(&["a/net.d", "c"]));
        assert_eq!(of("b/net.d/list"), set(&["b", "a/net.d", "c"]));
        assert_eq!(of("b/net.d/missing/deep"), set(&["b", "a/net.d"]));
        assert_eq!(of("b/circle"), set(&["b"]));
    }
}
