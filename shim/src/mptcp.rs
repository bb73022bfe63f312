//! Whether a socket that an MPTCP listener accepted from a plain client may be in a sockhash.

use nix::sys::utsname::uname;

/// The stable releases that got the fix of November 2025 ("mptcp: fix proto fallback detection with
/// BPF"), and from where on all releases have it. Others warn, or worse, in accept(2). It leaves
/// nothing in BTF that would tell, and trying it out is what harms; so a kernel of a vendor counts
/// only by its number.
const FIXED: [(u32, u32, u32); 5] =
    [(5, 10, 247), (5, 15, 197), (6, 1, 159), (6, 6, 118), (6, 12, 60)];
const FIXED_FROM: (u32, u32) = (6, 18);

/// For the kernel that runs.
pub fn is_safe() -> bool {
    uname().is_ok_and(|name| is_fixed(&name.release().to_string_lossy()))
}

fn is_fixed(release: &str) -> bool {
    let mut numbers = release
        .split(|char: char| !char.is_ascii_digit())
        .map_while(|number| number.parse::<u32>().ok());
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else { return false };
    let patch = numbers.next().unwrap_or(0);
    let is_stable =
        |fixed: &(u32, u32, u32)| (fixed.0, fixed.1) == (major, minor) && patch >= fixed.2;
    (major, minor) >= FIXED_FROM || FIXED.iter().any(is_stable)
}

#[cfg(test)]
mod tests {
    use super::is_fixed;

    #[test]
    fn releases_with_the_fix() {
        for release in ["6.18.44-fc-v657", "7.2-amd64", "6.12.107+deb13-amd64", "5.10.247-1"] {
            assert!(is_fixed(release), "{release}");
        }
        for release in ["6.17.9", "6.12.59", "5.10.134-18.al8.x86_64", "4.19.0", "", "nonsense"] {
            assert!(!is_fixed(release), "{release}");
        }
    }
}
