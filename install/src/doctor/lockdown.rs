//! Whether the kernel lets programs read its memory (kernel_lockdown(7)), which shunt's have to.

use std::fs;

use super::Finding;

const FILE: &str = "/sys/kernel/security/lockdown";

pub fn lockdown() -> Finding {
    const CHECK: &str = "lockdown";
    match fs::read_to_string(FILE) {
        Ok(text) if is_confidential(&text) => Finding::no(
            CHECK,
            "the kernel forbids programs to read its memory: pods stay plain TCP",
            "boot with lockdown=integrity, or without lockdown",
        ),
        Ok(_) => Finding::ok(CHECK, "programs may read the kernel's memory"),
        Err(_) => Finding::ok(CHECK, "this kernel has none, or does not show it here"),
    }
}

/// The level that is in force is in brackets.
fn is_confidential(text: &str) -> bool {
    text.contains("[confidentiality]")
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_the_level_in_force_counts() {
        for (text, is) in [
            ("[none] integrity confidentiality\n", false),
            ("none [integrity] confidentiality\n", false),
            ("none integrity [confidentiality]\n", true),
        ] {
            assert_eq!(super::is_confidential(text), is, "{text}");
        }
    }
}
