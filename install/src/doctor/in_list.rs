//! Whether the runtime calls shunt, and whether that can be called.

use std::path::Path;

use crate::{
    binary, claim,
    conflist::SHUNT,
    disk::Disk,
    entry::{Beside, Wanted},
    net_d::{self, Own},
    paths,
};

use super::Finding;

pub fn conflist(cni: &paths::Cni, lock_file: &Path) -> Finding {
    const CHECK: &str = "conflist";
    if let Some(dir) = claim::elsewhere(lock_file, &cni.bin_dir) {
        let (found, todo) =
            (format!("the plugin is in {}", dir.display()), "give that as --bin-dir");
        return Finding::limited(CHECK, found, todo);
    }
    let Own { list, entry, .. } = match net_d::entry(&Disk, &cni.net_dir) {
        Ok(own) => own,
        Err(why) => return Finding::limited(CHECK, format!("{why:#}"), "call `shuntctl install`"),
    };
    let plugin = cni.bin_dir.join(SHUNT);
    let spoken = match binary::versions(&plugin) {
        Ok(spoken) => spoken,
        Err(why) => {
            let found =
                format!("no pod can be made or deleted, as the plugin does not run: {why:#}");
            return Finding::no(
                CHECK,
                found,
                "call `shuntctl install`, or take shunt out of the list",
            );
        }
    };
    let wanted = Wanted { entry, beside: Beside::Kept };
    match cni.reader(&spoken).install(&Disk, &wanted) {
        Ok(plan) if plan.changes.is_empty() => {
            Finding::ok(CHECK, format!("{} has shunt, and the plugin runs", list.display()))
        }
        Ok(plan) if plan.primary == list => Finding::limited(
            CHECK,
            format!(
                "shunt's entry in {} is not behind the primary, or there twice",
                list.display()
            ),
            "call `shuntctl install`",
        ),
        Ok(plan) => Finding::limited(
            CHECK,
            format!(
                "{} has shunt, but the runtime reads {}",
                list.display(),
                plan.primary.display()
            ),
            "call `shuntctl install`",
        ),
        Err(unready) => Finding::limited(CHECK, unready.to_string(), "mend that file"),
    }
}
