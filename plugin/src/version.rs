//! VERSION: which versions of CNI shunt speaks.

use crate::env::Verb;

/// Oldest first. Chaining begins with 0.3.0.
const SPOKEN: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
pub const NEWEST: &str = SPOKEN[SPOKEN.len() - 1];

/// The versions that have `verb`: CHECK came with 0.4.0, GC and STATUS with 1.1.0.
pub fn of_verb(verb: Verb) -> &'static [&'static str] {
    match verb {
        Verb::Add | Verb::Del | Verb::Version => &SPOKEN,
        Verb::Check => &SPOKEN[2..],
        Verb::Gc | Verb::Status => &SPOKEN[4..],
    }
}

/// Leaves stdin alone, as containernetworking's plugins do: a runtime may have left it open.
pub fn run() -> String {
    serde_json::json!({ "cniVersion": NEWEST, "supportedVersions": SPOKEN }).to_string()
}

/// What a person reads who starts shunt by hand.
pub fn about() -> String {
    format!(
        "shunt {}: a chained CNI plugin that accelerates service-mesh sidecars\nCNI versions: {}",
        env!("CARGO_PKG_VERSION"),
        SPOKEN.join(", ")
    )
}
