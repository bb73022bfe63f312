//! Images of several processors, as `make index` puts them into one.

use anyhow::{Result, ensure};
use std::{path::Path, process::Command};
use tests::{sandbox, shuntctl};

use crate::containerd::Containerd;

/// The node takes that of its own processor, and knows of the other.
pub fn of_two_processors(containerd: &Containerd) -> Result<()> {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let root = &containerd.host.root;
    let images = ["amd64", "arm64"].map(|arch| (arch, root.path(&format!("/srv/{arch}.tar"))));
    for (arch, image) in &images {
        // What it is for is all that matters here.
        let mut command = Command::new(deploy.join("image"));
        command.arg(image).args(["two:1", r#"["/shuntctl"]"#]).env("ARCH", arch);
        let done = command.arg(shuntctl::command()?.get_program()).status()?;
        ensure!(done.success(), "{command:?}");
    }
    let mut command = Command::new(deploy.join("index"));
    command.arg(root.path("/srv/index.tar")).arg("two:1").args(images.map(|(_, image)| image));
    ensure!(command.status()?.success(), "{command:?}");
    root.run("ctr --namespace k8s.io image import --all-platforms /srv/index.tar")?;
    let known = root.run("ctr --namespace k8s.io image ls name==docker.io/library/two:1")?;
    ensure!(known.contains("linux/amd64,linux/arm64"), "{known}");
    // By itself it makes one that stays.
    let cgroup = sandbox::cgroup_parent()?.join("two");
    root.run(&format!(
        "ctr --namespace k8s.io run --rm --cgroup {} docker.io/library/two:1 two /shuntctl --version",
        cgroup.display()
    ))?;
    Ok(())
}
