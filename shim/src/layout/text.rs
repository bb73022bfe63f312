//! Text in fields of a fixed length.

/// The text in a field that is padded with zeroes.
#[cfg(feature = "std")]
pub fn text(field: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(field.split(|byte| *byte == 0).next().unwrap_or_default())
}

/// `bytes` with zeroes behind, or `None` if there is no room for one.
pub fn padded<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    out.get_mut(..bytes.len())?.copy_from_slice(bytes);
    (bytes.len() < N).then_some(out)
}
