//! Selections: what Sigma calls the named parts of `detection`.

use event::classify::wildcard::Wildcard;
use event::fields::SIGMA;
use serde_json::Value;
use std::collections::BTreeMap;

/// Where a pattern is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// One field, by the name that rules of ours use.
    Subject(&'static str),
    /// Anywhere in what the client sent.
    Keywords,
}

impl Place {
    /// What a rule of ours looks at for it; nothing where it can only be a condition.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Place::Keywords => &["url.original", "user_agent", "http.request.referrer"],
            Place::Subject("url.original") => &["url.original"],
            Place::Subject("url.path") => &["url.path"],
            Place::Subject("user_agent") => &["user_agent"],
            Place::Subject("http.request.referrer") => &["http.request.referrer"],
            Place::Subject("user.name") => &["user.name"],
            Place::Subject(_) => &[],
        }
    }
}

/// A pattern that must, or must not, be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Atom {
    pub place: Place,
    pub regex: String,
    pub not: bool,
}

/// What a selection asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    Atom(Atom),
    All(Vec<Tree>),
    Any(Vec<Tree>),
}

/// The selections of a rule by their names.
#[derive(Debug, Default)]
pub struct Selections(BTreeMap<String, Tree>);

impl Selections {
    /// Reads all of them.
    ///
    /// # Errors
    /// What a selection needs that cannot be expressed.
    pub fn read(detection: &Value) -> Result<Selections, String> {
        let all = detection.as_object().ok_or("it has no `detection`")?;
        let selections = all.iter().filter(|(name, _)| *name != "condition");
        let read = |(name, value): (&String, &Value)| match name.as_str() {
            "timeframe" => Err("it counts over time".to_owned()),
            _ => Ok((name.clone(), tree(value)?)),
        };
        selections.map(read).collect::<Result<_, _>>().map(Selections)
    }

    pub fn get(&self, name: &str) -> Result<&Tree, String> {
        self.0.get(name).ok_or_else(|| format!("its condition names `{name}`, which is not there"))
    }

    /// Those whose names fit a pattern such as `filter_*` or `sel_*_main`; `them` is all.
    pub fn like(&self, pattern: &str) -> Result<Vec<Tree>, String> {
        let wildcard = Wildcard::new(pattern);
        let fits = |name: &str| match pattern {
            "them" => !name.starts_with('_'),
            _ => wildcard.matches(name.as_bytes()),
        };
        let found: Vec<Tree> = self.0.iter().filter(|(name, _)| fits(name)).map(|(_, tree)| tree.clone()).collect();
        if found.is_empty() { Err(format!("its condition names `{pattern}`, which is not there")) } else { Ok(found) }
    }
}

/// A map is all of its fields, a list of maps any of them, a list of texts keywords.
fn tree(value: &Value) -> Result<Tree, String> {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| field(key, value)).collect::<Result<Vec<_>, _>>()?;
            Ok(Tree::All(fields))
        }
        Value::Array(items) if items.iter().all(Value::is_object) => {
            Ok(Tree::Any(items.iter().map(tree).collect::<Result<_, _>>()?))
        }
        Value::Array(items) => keywords(&items.iter().collect::<Vec<_>>()),
        value => keywords(&[value]),
    }
}

fn keywords(values: &[&Value]) -> Result<Tree, String> {
    atom(Place::Keywords, Kind::Contains, values)
}

/// How a value is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Whole,
    Contains,
    Starts,
    Ends,
    Regex,
}

fn field(key: &str, value: &Value) -> Result<Tree, String> {
    let mut parts = key.split('|');
    let name = parts.next().unwrap_or_default();
    let (mut kind, mut all) = (Kind::Whole, false);
    for modifier in parts {
        match modifier {
            "contains" => kind = Kind::Contains,
            "startswith" => kind = Kind::Starts,
            "endswith" => kind = Kind::Ends,
            "re" => kind = Kind::Regex,
            // `i` of `re`: all that we match is in lower case.
            "i" => {}
            "all" => all = true,
            other => return Err(format!("`{key}` has the modifier `{other}`")),
        }
    }
    // A map may hold keywords under an empty name: `'|all': [...]`.
    let place = if name.is_empty() { Place::Keywords } else { place(name)? };
    let kind = if place == Place::Keywords && kind == Kind::Whole { Kind::Contains } else { kind };
    let values: Vec<&Value> = value.as_array().map_or_else(|| vec![value], |all| all.iter().collect());
    if all {
        let each = values.iter().map(|value| atom(place, kind, &[value]));
        return Ok(Tree::All(each.collect::<Result<_, _>>()?));
    }
    atom(place, kind, &values)
}

/// Where rules of ours look for what Sigma's call by this name.
fn place(name: &str) -> Result<Place, String> {
    let field = match name {
        "uri" | "url" => Some("url.original"),
        "http-method" => Some("http.request.method"),
        _ => SIGMA.iter().find(|(known, _)| *known == name).map(|(_, field)| *field),
    };
    match field {
        Some("user_agent.original") => Ok(Place::Subject("user_agent")),
        Some(
            field @ ("url.original"
            | "url.path"
            | "http.request.method"
            | "http.request.referrer"
            | "http.response.status_code"
            | "user.name"),
        ) => Ok(Place::Subject(field)),
        _ => Err(format!("no rule of ours looks at `{name}`")),
    }
}

/// Any of the values.
fn atom(place: Place, kind: Kind, values: &[&Value]) -> Result<Tree, String> {
    let patterns = values.iter().map(|value| pattern(place, kind, value)).collect::<Result<Vec<_>, _>>()?;
    let regex = match &patterns[..] {
        [] => return Err("a list of values is empty".to_owned()),
        [one] => one.clone(),
        several => format!("(?:{})", several.join("|")),
    };
    Ok(Tree::Atom(Atom { place, regex, not: false }))
}

fn pattern(place: Place, kind: Kind, value: &Value) -> Result<String, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        // A field that is not there.
        Value::Null => return Ok("^$".to_owned()),
        _ => return Err("a value is neither text nor number".to_owned()),
    };
    if kind == Kind::Regex {
        let bare = text.strip_prefix("(?i)").unwrap_or(&text);
        return Ok(format!("(?i:{bare})"));
    }
    let text = wildcards(&text.to_ascii_lowercase());
    let begin = if place == Place::Subject("url.original") && !text.starts_with('/') { r"(?:^|\?)" } else { "^" };
    Ok(match kind {
        Kind::Whole => format!("{begin}{text}$"),
        Kind::Starts => format!("{begin}{text}"),
        Kind::Ends => format!("{text}$"),
        Kind::Contains | Kind::Regex => text,
    })
}

/// A value with Sigma's wildcards as a regex: `*`, `?`, and a backslash before either, or
/// before another one, which takes its meaning away.
fn wildcards(text: &str) -> String {
    let mut regex = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '\\' => {
                let escaped = characters.next_if(|next| ['*', '?', '\\'].contains(next));
                regex.push_str(&regex_syntax::escape(&escaped.unwrap_or('\\').to_string()));
            }
            other => regex.push_str(&regex_syntax::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    regex
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_become_patterns() {
        let regex = |key: &str, value: Value| match field(key, &value) {
            Ok(Tree::Atom(atom)) => atom.regex,
            other => panic!("{other:?}"),
        };
        assert_eq!(regex("c-uri|contains", json!(["/a.b?c=", "X*y"])), "(?:/a\\.b.c=|x.*y)");
        assert_eq!(regex("c-uri", json!("/a\\*b\\c")), "^/a\\*b\\\\c$");
        assert_eq!(regex("cs-uri-query|startswith", json!("cmd=")), "(?:^|\\?)cmd=");
        assert_eq!(regex("sc-status", json!(200)), "^200$");
        assert_eq!(regex("c-uri|re|i", json!("(?i)a+B")), "(?i:a+B)");
        assert_eq!(field("c-uri|base64", &json!("x")).unwrap_err(), "`c-uri|base64` has the modifier `base64`");
        assert_eq!(field("cs-cookie", &json!("x")).unwrap_err(), "no rule of ours looks at `cs-cookie`");
    }
}
