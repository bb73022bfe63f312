//! Text for a terminal of so many columns.

use std::io::{IsTerminal as _, stdout};

const LEAST: usize = 80;

/// `COLUMNS`, or else what the terminal has; 80 at least, and where there is none.
pub fn width() -> usize {
    let named = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    named.or_else(of_terminal).unwrap_or(LEAST).max(LEAST)
}

fn of_terminal() -> Option<usize> {
    stdout().is_terminal().then_some(())?;
    rustix::termios::tcgetwinsize(stdout()).ok().map(|size| size.ws_col.into())
}

/// Breaks each line between words, or inside a word that is longer than a line. What follows in a
/// line is indented as its first words are, and `hanging` columns more.
pub fn wrap(text: &str, width: usize, hanging: usize) -> String {
    let mut wrapped = String::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start_matches(' ').len();
        let deeper = (indent + hanging).min(width / 2);
        let (mut column, mut is_first) = (0, true);
        for word in line.trim_start_matches(' ').split(' ') {
            let mut word: Vec<char> = word.chars().collect();
            if is_first {
                wrapped.extend(std::iter::repeat_n(' ', indent));
                column = indent;
            } else if column + 1 + word.len() > width && column > deeper {
                wrapped.push('\n');
                wrapped.extend(std::iter::repeat_n(' ', deeper));
                column = deeper;
            } else {
                wrapped.push(' ');
                column += 1;
            }
            is_first = false;
            while column + word.len() > width {
                let rest = word.split_off((width - column).min(word.len()));
                wrapped.extend(word);
                wrapped.push('\n');
                wrapped.extend(std::iter::repeat_n(' ', deeper));
                (word, column) = (rest, deeper);
            }
            column += word.len();
            wrapped.extend(word);
        }
        wrapped.push('\n');
    }
    wrapped
}

/// `1 pod`, `2 pods`.
pub fn count(number: impl Into<u64>, what: &str) -> String {
    match number.into() {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_longer_and_no_word_is_lost() {
        let long = "x".repeat(200);
        for text in ["", "  a b", "one two three", &format!("  a {long} b"), "ß ".repeat(60).trim()]
        {
            for width in [20, 80] {
                let wrapped = wrap(text, width, 4);
                assert!(wrapped.lines().all(|line| line.chars().count() <= width), "{wrapped}");
                let letters = |text: &str| text.split_whitespace().collect::<String>();
                assert_eq!(letters(&wrapped), letters(text));
            }
        }
        assert_eq!(wrap("  ab cd ef", 8, 1), "  ab cd\n   ef\n");
    }
}
