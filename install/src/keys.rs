//! Keys of JSON as Go's encoding/json compares them (its foldName): in any case, where two letters
//! beyond ASCII are cases of others.

/// As one that is written in small letters.
pub fn folded(key: &str) -> String {
    key.chars().map(fold).collect()
}

/// Whether Go takes one for the other.
pub fn is_same(a: &str, b: &str) -> bool {
    a.chars().map(fold).eq(b.chars().map(fold))
}

fn fold(letter: char) -> char {
    match letter {
        'ſ' => 's',
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    }
}
