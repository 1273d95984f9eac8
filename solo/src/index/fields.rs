//! Which fields can be searched, and how: one list, for writing and for queries.

use event::LifeId;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use tantivy::schema::{
    DateOptions, DateTimePrecision, FAST, Field, INDEXED, STORED, STRING, Schema, TEXT, TantivyDocument,
};
use tantivy::{DateTime, Term};

/// How a field is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As a whole, and counted by value.
    Counted,
    /// As a whole.
    Keyword,
    /// Word by word.
    Words,
    Number,
    Date,
}

/// The fields that are searched, of those that `event::fields` lists. What stands here costs
/// time and space with each line. The order is that of indices on disk.
const SEARCHED: &[&str] = &[
    "@timestamp",
    "event.original",
    "event.id",
    "event.kind",
    "event.outcome",
    "event.dataset",
    "attack.categories",
    "attack.confidence",
    "attack.severity",
    "attack.score",
    "rule.id",
    "threat.technique.id",
    "threat.technique.subtechnique.id",
    "source.address",
    "source.ip",
    "user.name",
    "url.domain",
    "url.original",
    "url.path",
    "url.query",
    "url.extension",
    "http.request.method",
    "http.request.referrer",
    "http.response.status_code",
    "http.response.body.bytes",
    "http.version",
    "user_agent.original",
    "host.id",
    "host.name",
    "container.name",
    "log.file.path",
    "twosec.offset",
    "error.message",
    "twosec.life",
    "twosec.incident.id",
];

/// Fields whose most frequent values are asked for.
const COUNTED: [&str; 4] = ["event.kind", "attack.categories", "source.address", "url.path"];

/// Where bare words are looked for.
const DEFAULT: &str = "event.original";

/// The fields and how each is searched, which follows from its type.
fn searched() -> impl Iterator<Item = (&'static str, Kind)> {
    SEARCHED.iter().map(|name| {
        let field = event::fields::named(name).expect("a searched field is one of documents");
        (field.name, kind(field))
    })
}

fn kind(field: &event::fields::Field) -> Kind {
    use event::fields::Kind as Type;
    match field.kind {
        _ if field.name == DEFAULT => Kind::Words,
        _ if COUNTED.contains(&field.name) => Kind::Counted,
        Type::Date => Kind::Date,
        Type::Long | Type::Float => Kind::Number,
        // The words of a message stand in its line, too: to index them twice would cost a
        // line of an error log 5 to 10 % more.
        Type::MatchOnlyText => Kind::Keyword,
        Type::Keyword | Type::Wildcard | Type::Ip | Type::GeoPoint | Type::Object | Type::Flattened | Type::Boolean => {
            Kind::Keyword
        }
    }
}

/// The stored document itself.
pub const SOURCE: &str = "_source";

/// Longer values are searched by their beginning.
const KEYWORD_BYTES_MAX: usize = 8_191;

/// The schema of the index.
pub fn schema() -> Schema {
    let mut schema = Schema::builder();
    for (name, kind) in searched() {
        match kind {
            Kind::Counted => schema.add_text_field(name, STRING | FAST),
            Kind::Keyword => schema.add_text_field(name, STRING),
            Kind::Words => schema.add_text_field(name, TEXT),
            Kind::Number => schema.add_u64_field(name, INDEXED | FAST),
            Kind::Date => {
                let milliseconds = DateOptions::from(INDEXED).set_fast().set_precision(DateTimePrecision::Milliseconds);
                schema.add_date_field(name, milliseconds)
            }
        };
    }
    schema.add_bytes_field(SOURCE, STORED);
    schema.build()
}

/// The fields of an index, looked up once.
pub struct Fields {
    by_name: HashMap<&'static str, (Field, Kind)>,
    /// Objects that hold searchable fields: `attack`, `http`, `http.request`, ...
    objects: HashSet<&'static str>,
    source: Field,
}

impl Fields {
    /// The fields in an index's schema.
    pub fn of(schema: &Schema) -> Fields {
        let field = |name| schema.get_field(name).expect("the index was opened with this schema");
        let by_name = searched().map(|(name, kind)| (name, (field(name), kind))).collect();
        let objects = SEARCHED.iter().flat_map(|name| name.match_indices('.').map(|(dot, _)| &name[..dot])).collect();
        Fields { by_name, objects, source: field(SOURCE) }
    }

    fn leads_somewhere(&self, path: &str) -> bool {
        self.by_name.contains_key(path) || self.objects.contains(path)
    }

    /// A searched field.
    pub fn field(&self, name: &str) -> Field {
        self.by_name[name].0
    }

    /// A whole value of a text field.
    pub fn term(&self, name: &str, value: &str) -> Term {
        Term::from_field_text(self.field(name), value)
    }

    /// Where bare words are looked for.
    pub fn default(&self) -> Field {
        self.field(DEFAULT)
    }

    /// The field that holds the document itself.
    pub fn source(&self) -> Field {
        self.source
    }

    /// What tantivy keeps of a document, or why its body cannot be read.
    pub fn document(&self, body: &[u8]) -> serde_json::Result<(TantivyDocument, Place)> {
        let mut found = Found { fields: self, out: TantivyDocument::default(), place: Place::default() };
        let mut reader = serde_json::Deserializer::from_slice(body);
        Node { path: "", found: &mut found }.deserialize(&mut reader)?;
        found.out.add_bytes(self.source, body);
        Ok((found.out, found.place))
    }
}

/// Where a line stands, as its document tells.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    pub life: Option<LifeId>,
    pub offset: Option<u64>,
}

/// What has been found of a document so far.
struct Found<'f> {
    fields: &'f Fields,
    out: TantivyDocument,
    place: Place,
}

impl Found<'_> {
    fn text(&mut self, path: &str, text: &str) {
        if path == "twosec.life" {
            self.place.life = text.parse().ok();
        }
        let Some((field, kind)) = self.fields.by_name.get(path) else { return };
        match kind {
            Kind::Words => self.out.add_text(*field, text),
            Kind::Counted | Kind::Keyword => self.out.add_text(*field, beginning(text)),
            Kind::Date => date(text).into_iter().for_each(|date| self.out.add_date(*field, date)),
            Kind::Number => {}
        }
    }

    fn number(&mut self, path: &str, number: u64) {
        if path == "twosec.offset" {
            self.place.offset = Some(number);
        }
        if let Some((field, Kind::Number)) = self.fields.by_name.get(path) {
            self.out.add_u64(*field, number);
        }
    }
}

/// A value of a document, read as it streams by: building a tree of each document would
/// cost more than indexing it.
struct Node<'n, 'f> {
    path: &'n str,
    found: &'n mut Found<'f>,
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.found.text(self.path, text);
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.found.number(self.path, number);
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        while values.next_element_seed(Node { path: self.path, found: &mut *self.found })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut path = String::with_capacity(self.path.len() + 24);
        while let Some(key) = entries.next_key::<Cow<'_, str>>()? {
            path.clear();
            path.push_str(self.path);
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&key);
            if self.found.fields.leads_somewhere(&path) {
                entries.next_value_seed(Node { path: &path, found: &mut *self.found })?;
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(KEYWORD_BYTES_MAX)]
}

/// Reads a document's own `@timestamp` again (RFC 3339, UTC, milliseconds).
fn date(text: &str) -> Option<DateTime> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let days = event::time::days_from_civil(number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let seconds = days * 86_400 + number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    Some(DateTime::from_timestamp_millis(seconds * 1000 + number(20, 23)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_field_is_searched_follows_from_its_type() {
        let of = |kind| searched().filter(|(_, of)| *of == kind).map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(of(Kind::Words), [DEFAULT]);
        assert_eq!(of(Kind::Date), ["@timestamp"]);
        assert_eq!(of(Kind::Counted), COUNTED);
        let numbers = ["attack.score", "http.response.status_code", "http.response.body.bytes", "twosec.offset"];
        assert_eq!(of(Kind::Number), numbers);
        assert!(of(Kind::Keyword).contains(&"error.message"));
    }

    #[test]
    fn a_documents_time_is_read_as_it_was_written() {
        let at = 1_794_816_025_123;
        assert_eq!(date(&event::time::rfc3339(at)), Some(DateTime::from_timestamp_millis(at)));
        assert_eq!(date("soon"), None);
    }
}
