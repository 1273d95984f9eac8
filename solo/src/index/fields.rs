//! Which fields can be searched, and how: one list, for writing and for queries.

use processor::index::Item;
use serde_json::Value;
use std::collections::HashMap;
use tantivy::schema::{
    DateOptions, DateTimePrecision, FAST, Field, INDEXED, STORED, STRING, Schema, TEXT, TantivyDocument,
};
use tantivy::{DateTime, Term};

/// How a field is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As a whole, and counted.
    Keyword,
    /// As a whole. Values differ from event to event, so counting them is of no use.
    Id,
    /// Word by word.
    Words,
    Number,
    Date,
}

/// The searchable fields by their ECS names. `event.original` is where bare words are
/// looked for.
const FIELDS: &[(&str, Kind)] = &[
    ("@timestamp", Kind::Date),
    ("event.original", Kind::Words),
    ("event.id", Kind::Id),
    ("event.kind", Kind::Keyword),
    ("event.outcome", Kind::Keyword),
    ("event.dataset", Kind::Keyword),
    ("attack.categories", Kind::Keyword),
    ("attack.confidence", Kind::Keyword),
    ("attack.severity", Kind::Keyword),
    ("attack.score", Kind::Number),
    ("rule.id", Kind::Keyword),
    ("threat.technique.id", Kind::Keyword),
    ("source.address", Kind::Keyword),
    ("source.ip", Kind::Keyword),
    ("user.name", Kind::Keyword),
    ("url.domain", Kind::Keyword),
    ("url.original", Kind::Id),
    ("url.path", Kind::Keyword),
    ("url.query", Kind::Id),
    ("url.extension", Kind::Keyword),
    ("http.request.method", Kind::Keyword),
    ("http.request.referrer", Kind::Id),
    ("http.response.status_code", Kind::Number),
    ("http.response.body.bytes", Kind::Number),
    ("http.version", Kind::Keyword),
    ("user_agent.original", Kind::Keyword),
    ("host.id", Kind::Keyword),
    ("host.name", Kind::Keyword),
    ("container.name", Kind::Keyword),
    ("log.file.path", Kind::Keyword),
    ("log.offset", Kind::Number),
    ("error.message", Kind::Keyword),
    ("twosec.life", Kind::Id),
];

/// The stored document itself.
pub const SOURCE: &str = "_source";

/// Longer values are searched by their beginning.
const KEYWORD_BYTES_MAX: usize = 8_191;

/// The schema of the index.
pub fn schema() -> Schema {
    let mut schema = Schema::builder();
    for (name, kind) in FIELDS {
        match kind {
            Kind::Keyword => schema.add_text_field(name, STRING | FAST),
            Kind::Id => schema.add_text_field(name, STRING),
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
    all: Vec<(Field, &'static str, Kind)>,
    by_name: HashMap<&'static str, Field>,
    source: Field,
}

impl Fields {
    /// The fields in an index's schema.
    pub fn of(schema: &Schema) -> Fields {
        let field = |name| schema.get_field(name).expect("the index was opened with this schema");
        let all: Vec<_> = FIELDS.iter().map(|(name, kind)| (field(name), *name, *kind)).collect();
        let by_name = all.iter().map(|(field, name, _)| (*name, *field)).collect();
        Fields { all, by_name, source: field(SOURCE) }
    }

    /// A whole value of a text field.
    pub fn term(&self, name: &str, value: &str) -> Term {
        Term::from_field_text(self.by_name[name], value)
    }

    /// Where bare words are looked for.
    pub fn default(&self) -> Field {
        self.by_name["event.original"]
    }

    /// The field that holds the document itself.
    pub fn source(&self) -> Field {
        self.source
    }

    /// What tantivy keeps of a document.
    pub fn document(&self, item: &Item, source: &Value) -> TantivyDocument {
        let mut out = TantivyDocument::default();
        for (field, name, kind) in &self.all {
            let value = name.split('.').try_fold(source, |value, part| value.get(part));
            match value {
                Some(Value::Array(values)) => values.iter().for_each(|value| add(&mut out, *field, *kind, value)),
                Some(value) => add(&mut out, *field, *kind, value),
                None => {}
            }
        }
        out.add_bytes(self.source, &item.document.body);
        out
    }
}

fn add(out: &mut TantivyDocument, field: Field, kind: Kind, value: &Value) {
    match (kind, value) {
        (Kind::Words, Value::String(text)) => out.add_text(field, text),
        (Kind::Keyword | Kind::Id, Value::String(text)) => out.add_text(field, beginning(text)),
        (Kind::Number, Value::Number(number)) => number.as_u64().into_iter().for_each(|n| out.add_u64(field, n)),
        (Kind::Date, Value::String(text)) => date(text).into_iter().for_each(|date| out.add_date(field, date)),
        _ => {}
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
    fn a_documents_time_is_read_as_it_was_written() {
        let at = 1_794_816_025_123;
        assert_eq!(date(&event::time::rfc3339(at)), Some(DateTime::from_timestamp_millis(at)));
        assert_eq!(date("soon"), None);
    }
}
