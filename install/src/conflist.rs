//! One network configuration as text: shunt's entry in and out, every other byte as it was.
//!
//! What the files of a runtime's folder look like: libcni's `conf.go`, containerd's go-cni
//! `opts.go`, Multus' `docs/configuration.md`.

use std::ops::Range;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Serializer, Value, ser::PrettyFormatter, value::RawValue};

use crate::keys::is_same;

/// The plugin's `type`, and so the name of its binary.
pub const SHUNT: &str = "shunt";
/// Multus' own plugin, and the one that asks its daemon.
const MULTUS: [&str; 2] = ["multus", "multus-shim"];

/// A list, or (without `plugins`) the conf of one plugin.
#[derive(Deserialize)]
pub struct Conf<'a> {
    #[serde(default)]
    pub name: String,
    /// Missing: 0.1.0.
    #[serde(rename = "cniVersion")]
    version: Option<String>,
    #[serde(default, rename = "cniVersions")]
    versions: Vec<String>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    #[serde(borrow)]
    plugins: Option<Vec<&'a RawValue>>,
    /// `true`, also as a string: plugins in the list's own folder are not read.
    #[serde(default, rename = "loadOnlyInlinedPlugins")]
    only_inlined: Value,
    /// Multus: the networks of every pod, the one that has its address first.
    #[serde(borrow)]
    delegates: Option<Vec<&'a RawValue>>,
    /// Multus: where else the first of them is.
    #[serde(rename = "clusterNetwork")]
    pub cluster_network: Option<String>,
}

impl<'a> Conf<'a> {
    /// # Errors
    /// It is no JSON (any more, or not yet), or not a network configuration's.
    pub fn parse(text: &'a str) -> Result<Self> {
        Ok(serde_json::from_str(text)?)
    }

    pub fn is_list(&self) -> bool {
        self.plugins.is_some()
    }

    pub fn is_multus(&self) -> bool {
        self.kind.as_deref().is_some_and(|kind| MULTUS.contains(&kind))
    }

    /// The network that gives pods their address, where Multus' conf has it in itself.
    pub fn delegate(&self) -> Option<&'a str> {
        let delegates = self.delegates.as_ref().filter(|_| self.cluster_network.is_none());
        delegates?.first().map(|delegate| delegate.get())
    }

    /// All networks that Multus' conf has in itself.
    fn delegates(&self) -> impl Iterator<Item = &'a str> + use<'_, 'a> {
        self.delegates.iter().flatten().map(|delegate| delegate.get())
    }

    /// Where among the plugins shunt is.
    fn own(&self) -> Vec<usize> {
        let plugins = self.plugins().iter().enumerate();
        plugins.filter(|(_, plugin)| is_shunt(plugin.get())).map(|(index, _)| index).collect()
    }

    /// All plugins but shunt.
    pub fn others(&self) -> Vec<&'a str> {
        self.plugins().iter().map(|it| it.get()).filter(|it| !is_shunt(it)).collect()
    }

    pub fn reads_folder(&self) -> bool {
        let only = self.only_inlined.to_string();
        !only.trim_matches('"').eq_ignore_ascii_case("true")
    }

    /// What a runtime calls plugins with: the newest that it knows of those named.
    pub fn newest_version(&self) -> String {
        let numbers = |version: &&str| -> Vec<u32> {
            version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
        };
        let named = self.version.iter().chain(&self.versions).map(String::as_str);
        named.max_by_key(numbers).unwrap_or("0.1.0").to_owned()
    }

    /// The plugin that a runtime calls first, by its `type`. None: it is not in this file.
    pub fn first_plugin(&self) -> Option<String> {
        match self.plugins().first() {
            Some(plugin) => Conf::parse(plugin.get()).ok()?.kind,
            None if self.is_list() => None,
            None => self.kind.clone(),
        }
    }

    fn plugins(&self) -> &[&'a RawValue] {
        self.plugins.as_deref().unwrap_or(&[])
    }
}

/// A list's text with `entry` behind its first plugin, and nowhere else: where an entry is in such a
/// place, or else at the end.
///
/// # Errors
/// It is no list, or one without another plugin.
pub fn with_entry(text: &str, entry: &Value) -> Result<String> {
    let list = Conf::parse(text)?;
    let own = list.own();
    let Some(&kept) = own.iter().find(|index| **index > 0) else {
        let text = without_entry(text)?;
        let list = Conf::parse(&text)?;
        let last = list.plugins().last().context("it has no plugin")?;
        let Range { start, end } = span(&text, last);
        let (lead, entry) = like(&text[..start], last.get(), entry);
        return Ok(format!("{},{lead}{entry}{}", &text[..end], &text[end..]));
    };
    if let Some(index) = own.iter().rev().find(|index| **index != kept) {
        return with_entry(&without_plugin(text, &list, *index), entry);
    }
    let plugins = list.plugins();
    if value(plugins[kept].get())? == *entry {
        return Ok(text.to_owned());
    }
    let Range { start, end } = span(text, plugins[kept]);
    let before = plugins[kept - 1];
    let (_, entry) = like(&text[..span(text, before).start], before.get(), entry);
    Ok(format!("{}{entry}{}", &text[..start], &text[end..]))
}

/// The text without shunt's entries, in its own plugins and in those of all delegates of Multus.
/// Without one, the text itself.
///
/// # Errors
/// As [`Conf::parse`], or a list has no other plugin: libcni takes no list without one.
pub fn without_entry(text: &str) -> Result<String> {
    let conf = Conf::parse(text)?;
    let is_alone = !conf.own().is_empty() && conf.others().is_empty();
    ensure!(!is_alone, "shunt is its only plugin, and a list without one is none");
    if let Some(index) = conf.own().first() {
        return without_entry(&without_plugin(text, &conf, *index));
    }
    for delegate in conf.delegates() {
        let without = without_entry(delegate)?;
        if without != delegate {
            return without_entry(&with_part(text, delegate, &without));
        }
    }
    Ok(text.to_owned())
}

fn without_plugin(text: &str, list: &Conf, index: usize) -> String {
    let plugins = list.plugins();
    let own = span(text, plugins[index]);
    let cut = match (index, plugins.get(1)) {
        (0, Some(next)) => own.start..span(text, next).start,
        (0, None) => own,
        _ => span(text, plugins[index - 1]).end..own.end,
    };
    format!("{}{}", &text[..cut.start], &text[cut.end..])
}

/// Whether a plugin anywhere in it is shunt: libcni takes a key in any case.
///
/// # Errors
/// It is no JSON.
pub fn names_shunt(text: &str) -> Result<bool> {
    fn names(value: &Value) -> bool {
        match value {
            Value::Array(values) => values.iter().any(names),
            Value::Object(members) => members
                .iter()
                .any(|(key, value)| (is_same(key, "type") && value == SHUNT) || names(value)),
            _ => false,
        }
    }
    Ok(names(&value(text)?))
}

/// As libcni reads it: half of a surrogate pair is no error there (Go's encoding/json).
///
/// # Errors
/// It is no JSON, or nested deeper than any configuration.
pub fn value(text: &str) -> Result<Value> {
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let code = |at: usize| {
            let digits = rest.get(at..at + 6)?.strip_prefix("\\u")?;
            u16::from_str_radix(digits, 16).ok()
        };
        let (read, written) = match (code(at), code(at + 6)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => (12, None),
            (Some(0xd800..0xe000), _) => (6, Some("\\ufffd")),
            _ => (1 + rest[at + 1..].chars().next().map_or(0, char::len_utf8), None),
        };
        whole += &rest[..at];
        whole += written.unwrap_or(&rest[at..at + read]);
        rest = &rest[at + read..];
    }
    Ok(serde_json::from_str(&(whole + rest))?)
}

/// Multus' conf with its first delegate changed.
///
/// # Errors
/// The delegate is no list, or `change`'s.
pub fn in_delegate(text: &str, change: impl FnOnce(&str) -> Result<String>) -> Result<String> {
    let Some(delegate) = Conf::parse(text)?.delegate() else { return Ok(text.to_owned()) };
    Ok(with_part(text, delegate, &change(delegate)?))
}

fn with_part(text: &str, part: &str, new: &str) -> String {
    let Range { start, end } = range(text, part);
    format!("{}{new}{}", &text[..start], &text[end..])
}

/// The list that a runtime makes of a single plugin's conf (libcni's ConfListFromConf). To a conf the
/// folder of its name means nothing.
///
/// # Errors
/// It has no name, which shunt's plugin insists on.
pub fn list_of(conf: &str) -> Result<String> {
    let Conf { name, version, .. } = Conf::parse(conf)?;
    ensure!(!name.is_empty(), "it has no name");
    let version = Value::from(version.unwrap_or_else(|| "0.1.0".into()));
    let (name, plugin) = (Value::from(name), as_plugin(conf));
    Ok(format!(
        "{{\n  \"cniVersion\": {version},\n  \"name\": {name},\n  \"loadOnlyInlinedPlugins\": true,\n  \
         \"plugins\": [\n    {plugin}\n  ]\n}}\n"
    ))
}

/// A list that was made of a conf, with that conf as it is now.
///
/// # Errors
/// As [`Conf::parse`], or there is no plugin but shunt.
pub fn with_first(list: &str, conf: &str) -> Result<String> {
    let first = *Conf::parse(list)?.others().first().context("it has no plugin")?;
    Ok(match value(first)? == value(conf)? {
        true => list.to_owned(),
        false => with_part(list, first, &as_plugin(conf)),
    })
}

fn as_plugin(conf: &str) -> String {
    conf.trim().replace('\n', "\n    ")
}

/// Shunt's entries, wherever they are in it.
///
/// # Errors
/// As [`Conf::parse`].
pub fn entries(text: &str) -> Result<Vec<Value>> {
    let conf = Conf::parse(text)?;
    let own = conf.own().into_iter().map(|index| value(conf.plugins()[index].get()));
    let mut entries = own.collect::<Result<Vec<Value>>>()?;
    for delegate in conf.delegates() {
        entries.extend(self::entries(delegate)?);
    }
    Ok(entries)
}

/// Text of a file of its own.
pub fn file_of(entry: &Value) -> String {
    format!("{entry:#}\n")
}

/// Whether a single plugin's conf is shunt's, and cannot be taken for another's. libcni takes its keys
/// in any case, and of two the last.
pub fn is_shunt(plugin: &str) -> bool {
    let Ok(Value::Object(members)) = value(plugin) else { return false };
    let mut kinds = members.iter().filter(|(key, _)| is_same(key, "type"));
    let is_own = kinds.next().is_some_and(|(_, kind)| kind == SHUNT);
    is_own && kinds.next().is_none() && !members.contains_key("plugins")
}

fn span(text: &str, part: &RawValue) -> Range<usize> {
    range(text, part.get())
}

/// Where in `text` a part of it is, that was borrowed from it.
fn range(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    start..start + part.len()
}

/// What stands before an entry, and the entry, written as the plugin before is: on a line of its own,
/// and its keys too.
fn like<'a>(before: &'a str, plugin: &str, entry: &Value) -> (&'a str, String) {
    let lead = &before[before.trim_end_matches([' ', '\t', '\r', '\n']).len()..];
    let in_one_line = (lead, entry.to_string());
    let Some((_, indent)) = lead.rsplit_once('\n') else { return in_one_line };
    let Some((_, members)) = plugin.split_once('\n') else { return in_one_line };
    let deeper = &members[..members.len() - members.trim_start_matches([' ', '\t']).len()];
    let step = deeper.strip_prefix(indent).filter(|step| !step.is_empty()).unwrap_or("  ");
    let mut pretty = Vec::new();
    let formatter = PrettyFormatter::with_indent(step.as_bytes());
    entry.serialize(&mut Serializer::with_formatter(&mut pretty, formatter)).expect("to memory");
    let newline = if lead.contains("\r\n") { "\r\n" } else { "\n" };
    let pretty = String::from_utf8_lossy(&pretty).replace('\n', &format!("{newline}{indent}"));
    (lead, pretty)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn half_a_list_is_none() {
        let text = r#"{"cniVersion": "1.0.0", "name": "ß", "plugins": [{"type": "a", "x": [{}]}]}"#;
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            assert!(with_entry(&text[..end], &json!({"type": "shunt"})).is_err(), "{end}");
            assert!(without_entry(&text[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn an_entry_behind_the_primary_stays_where_it_is() {
        let text = r#"{"plugins": [{"type": "a"}, {"Type": "shunt"}, {"type": "b"}]}"#;
        let with = with_entry(text, &json!({"type": "shunt"})).unwrap();
        assert_eq!(with, r#"{"plugins": [{"type": "a"}, {"type":"shunt"}, {"type": "b"}]}"#);
        assert_eq!(with_entry(&with, &json!({"type": "shunt"})).unwrap(), with);
        let twice = text.replace(r#"{"type": "b"}"#, r#"{"type": "b"}, {"type": "shunt"}"#);
        assert_eq!(with_entry(&twice, &json!({"type": "shunt"})).unwrap(), with);
    }

    #[test]
    fn half_of_a_surrogate_pair_is_taken_as_go_takes_it() {
        for (text, read) in [
            (r#""\ud834\udd1e""#, "𝄞"),
            (r#""\ud834x\u0041""#, "\u{fffd}xA"),
            (r#""\udd1e\ud834\ud834\udd1e""#, "\u{fffd}\u{fffd}𝄞"),
            (r#""\\ud834""#, "\\ud834"),
        ] {
            assert_eq!(value(text).unwrap(), read, "{text}");
        }
        assert!(value("\"\\").is_err() && value(r#""\u12"#).is_err());
    }

    #[test]
    fn an_entry_is_known_whatever_else_is_in_it() {
        let text = r#"{"plugins": [{"type": "a"}, {"type": "shunt", "\ud834": "\ud834"}]}"#;
        let entry = json!({"type": "shunt", "\u{fffd}": "\u{fffd}"});
        assert_eq!(entries(text).unwrap(), std::slice::from_ref(&entry));
        assert_eq!(with_entry(text, &entry).unwrap(), text);
        assert_eq!(without_entry(text).unwrap(), r#"{"plugins": [{"type": "a"}]}"#);
    }

    #[test]
    fn in_every_delegate_and_at_any_depth() {
        let text = r#"{"type": "multus", "delegates": [{"plugins": [{"type": "a"}]}, {"plugins": [{"type": "b"}, {"type": "shunt"}]}]}"#;
        assert!(names_shunt(text).unwrap() && entries(text).unwrap().len() == 1);
        let without = without_entry(text).unwrap();
        assert_eq!(without, text.replace(r#", {"type": "shunt"}"#, ""));
        assert!(!names_shunt(&without).unwrap());
        let deep = r#"{"plugins": [{"type": "a", "delegate": [[{"TYPE": "sh\u0075nt"}]]}]}"#;
        assert!(names_shunt(deep).unwrap() && without_entry(deep).unwrap() == deep);
    }

    #[test]
    fn an_entry_before_the_primary_moves_behind() {
        for text in [
            r#"{"plugins": [{"type": "shunt"}, {"type": "a"}]}"#,
            r#"{"plugins": [{"type": "shunt"}, {"type": "a"}, {"type": "shunt"}]}"#,
        ] {
            let with = with_entry(text, &json!({"type": "shunt"})).unwrap();
            let kinds: Value = serde_json::from_str(&with).unwrap();
            assert_eq!(kinds, json!({"plugins": [{"type": "a"}, {"type": "shunt"}]}), "{with}");
            assert_eq!(entries(&with).unwrap().len(), 1);
            assert!(!without_entry(text).unwrap().contains("shunt"));
        }
    }
}
