//! The editor of network configurations: any text is left as it is, or gets shunt's entry once and
//! loses it again without a trace. What no runtime can read stays so.
#![no_main]

#[allow(dead_code)]
#[path = "../../install/src/conflist.rs"]
mod conflist;
#[allow(dead_code)]
#[path = "../../install/src/keys.rs"]
mod keys;

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|text: &str| {
    let entry = json!({"type": "shunt", "excludedPorts": [1]});
    let had = conflist::entries(text).unwrap_or_default();
    if let Ok(without) = conflist::without_entry(text) {
        assert!(conflist::entries(&without).is_ok_and(|entries| entries.is_empty()));
        assert_eq!(had.is_empty(), without == text);
    }
    if let Ok(with) = conflist::with_entry(text, &entry) {
        is_in_it_once(text, &with, &entry);
        assert_eq!(conflist::with_entry(&with, &entry).unwrap(), with);
        if had.is_empty() {
            assert_eq!(conflist::without_entry(&with).unwrap(), text);
        }
    }
    if let Ok(nested) = conflist::in_delegate(text, |list| conflist::with_entry(list, &entry)) {
        if had.is_empty() {
            assert_eq!(conflist::without_entry(&nested).unwrap(), text);
        }
    }
    if let Ok(list) = conflist::list_of(text) {
        if let Ok(with) = conflist::with_entry(&list, &entry) {
            is_in_it_once(&list, &with, &entry);
        }
    }
});

/// Behind another plugin.
fn is_in_it_once(before: &str, list: &str, entry: &Value) {
    let list = match (conflist::value(before), conflist::value(list)) {
        (Ok(_), list) => list.unwrap(),
        (Err(_), list) => return assert!(list.is_err()),
    };
    let plugins = list["plugins"].as_array().unwrap();
    let own: Vec<usize> = (0..plugins.len()).filter(|index| plugins[*index] == *entry).collect();
    assert!(own.len() == 1 && own[0] > 0, "{own:?} in {list}");
}
