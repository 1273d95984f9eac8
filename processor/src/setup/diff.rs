//! What differs between what a domain has and what it should have.

use serde_json::Value;
use std::collections::BTreeMap;

/// Leaves by their dotted names. OpenSearch takes `{"index": {"codec": ...}}` and
/// `{"index.codec": ...}` for the same, and gives every setting back as a string.
fn leaves(value: &Value, at: &str, out: &mut BTreeMap<String, String>) {
    let below = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(name, member)| leaves(member, &below(name), out));
        }
        Value::Array(members) if members.iter().any(Value::is_object) => {
            members.iter().enumerate().for_each(|(at, member)| leaves(member, &below(&at.to_string()), out));
        }
        Value::String(text) => _ = out.insert(at.to_owned(), text.clone()),
        other => _ = out.insert(at.to_owned(), other.to_string()),
    }
}

/// A sentence for each leaf that differs. Where the domain adds defaults of its own, what it
/// has more than is wanted counts for nothing.
pub fn changes(there: &Value, wanted: &Value, may_hold_more: bool) -> Vec<String> {
    let (mut old, mut new) = (BTreeMap::new(), BTreeMap::new());
    leaves(there, "", &mut old);
    leaves(wanted, "", &mut new);
    let differs = new.iter().filter_map(|(name, wanted)| match old.get(name) {
        Some(there) if there == wanted => None,
        Some(there) => Some(format!("{name}: {there} -> {wanted}")),
        None => Some(format!("{name}: (nothing) -> {wanted}")),
    });
    let is_gone = |name: &&String| !may_hold_more && !new.contains_key(*name);
    let gone = old.keys().filter(is_gone).map(|name| format!("{name}: {} -> (nothing)", old[name]));
    differs.chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_that_come_back_as_strings_are_the_same() {
        let wanted = json!({"settings": {"index": {"number_of_shards": 1, "a": true}}, "priority": 200});
        let there = json!({"settings": {"index": {"number_of_shards": "1", "a": "true"}}, "priority": 200});
        assert_eq!(changes(&there, &wanted, false), Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_told_with_both_sides() {
        let wanted = json!({"a": {"b": 1}, "list": ["x", "y"], "new": "n"});
        let there = json!({"a": {"b": 2}, "list": ["x"], "old": {}});
        let told = ["a.b: 2 -> 1", r#"list: ["x"] -> ["x","y"]"#, "new: (nothing) -> n", "old: {} -> (nothing)"];
        assert_eq!(changes(&there, &wanted, false), told);
        assert_eq!(changes(&there, &wanted, true), told[..3]);
    }
}
