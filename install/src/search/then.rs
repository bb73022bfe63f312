//! `install` and `uninstall` as they were when a list was left that named a missing binary: the claim
//! let go before the last change, and the binary placed once, however long there was nothing to do.

use std::{path::Path, time::Duration};

use super::{
    Program,
    actors::{spoken, wanted},
    node::NET_D,
};
use crate::{
    claim::{Claimed, Purpose},
    drain::Patience,
    net_d::Reader,
    removal::Removal,
    world::{Part, World},
};

pub fn install(wait: Duration) -> Program {
    Box::new(move |node| {
        let (spoken, wanted) = (spoken(), wanted());
        let reader = Reader {
            net_dir: Path::new(NET_D),
            bin_dir: Path::new("/bin"),
            spoken: &spoken,
            skips: false,
        };
        let deadline = node.now() + wait;
        let _ = node.load(&wanted);
        if let Ok(Claimed::Held(claim)) = node.claim(Purpose::Install) {
            let _ = node.place(&claim);
        }
        loop {
            let Ok(Claimed::Held(claim)) = node.claim(Purpose::Install) else { return };
            if let Ok(plan) = reader.install(node, &wanted) {
                let _ = plan.changes.iter().try_for_each(|change| node.make(change).map(drop));
                return;
            }
            if node.now() >= deadline {
                return;
            }
            drop(claim);
            node.rest(Duration::from_millis(200));
        }
    })
}

pub fn uninstall() -> Program {
    Box::new(move |node| {
        let Ok(Claimed::Held(claim)) = node.claim(Purpose::Leave) else { return };
        let Ok(removal) = Removal::of(node, Path::new(NET_D)) else { return };
        for change in removal.changes {
            let Ok(_) = node.make(&change) else { return };
        }
        let _ = node.give_up(claim);
        node.rest(Duration::ZERO);
        let _ = node.drain(Patience::default());
        for part in [Part::Binary, Part::Pins, Part::LockFile] {
            let _ = node.remove(part);
        }
    })
}
