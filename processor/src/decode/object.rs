//! JSON objects as other producers write them: Fluent Bit, Vector, Filebeat, Firehose and
//! their like. Each names the same things otherwise.

use event::Millis;
use event::limits::LINE_BYTES_MAX;
use event::time::{YEAR_10_000, parse_rfc3339_offset};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Where the log line stands: the first that is a text counts.
const LINE: [&str; 5] = ["event.original", "message", "log", "MESSAGE", "msg"];

const TIME: [&str; 4] = ["@timestamp", "timestamp", "time", "date"];

const HOST_NAME: [&str; 3] = ["host.name", "host", "hostname"];

const PATH: [&str; 5] = ["log.file.path", "file", "path", "filename", "log_path"];

/// An object that is small enough to be looked into.
pub struct Object(Map<String, Value>);

impl Object {
    /// Reads an object; `None` for one that is longer than a line may be.
    pub fn read(json: &str) -> Option<Object> {
        (json.len() <= LINE_BYTES_MAX).then(|| serde_json::from_str(json).ok().map(Object)).flatten()
    }

    /// The log line in it.
    pub fn line(&self) -> Option<&str> {
        self.text(&LINE)
    }

    /// When the line was written, or read, as the producer says.
    pub fn time(&self) -> Option<Millis> {
        TIME.iter().filter_map(|path| at(&self.0, path)).find_map(time)
    }

    pub fn host_name(&self) -> Option<&str> {
        self.text(&HOST_NAME)
    }

    pub fn host_id(&self) -> Option<&str> {
        self.text(&["host.id"])
    }

    /// The file that the line stood in.
    pub fn path(&self) -> Option<&str> {
        self.text(&PATH)
    }

    fn text(&self, paths: &[&str]) -> Option<&str> {
        paths.iter().filter_map(|path| at(&self.0, path)?.as_str()).find(|text| !text.trim().is_empty())
    }
}

/// What stands at `a.b`: under that very key, or under `b` in `a`.
fn at<'v>(object: &'v Map<String, Value>, path: &str) -> Option<&'v Value> {
    let nested = || {
        let (first, rest) = path.split_once('.')?;
        at(object.get(first)?.as_object()?, rest)
    };
    object.get(path).or_else(nested)
}

/// RFC 3339, or a number of seconds, milli-, micro- or nanoseconds since 1970. Which of them
/// is told by its size: as seconds, each smaller unit would be thousands of years off.
fn time(value: &Value) -> Option<Millis> {
    let number = match value {
        Value::String(text) => match parse_rfc3339_offset(text) {
            Some(at) => return Some(at).filter(|at| is_a_time(*at)),
            None => text.parse().ok()?,
        },
        other => other.as_f64()?,
    };
    let millis = match number.abs() {
        size if size < 1e11 => number * 1e3,
        size if size < 1e14 => number,
        size if size < 1e17 => number / 1e3,
        _ => number / 1e6,
    };
    Some(millis.round() as Millis).filter(|at| millis.is_finite() && is_a_time(*at))
}

/// Whether an index knows the time: from 1970 to 9999.
pub fn is_a_time(at: Millis) -> bool {
    (0..YEAR_10_000).contains(&at)
}

/// What a text begins with, blanks aside.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A JSON object. It may go on over line feeds.
    Object(&'a str),
    /// A line that is no object.
    Line,
    /// A line that is none either, and that was found out behind its end.
    Broken,
}

/// Looks for an object where a text begins.
pub fn next_object(text: &str) -> Next<'_> {
    let text = text.trim_start();
    if !text.starts_with('{') {
        return Next::Line;
    }
    match first_value(text) {
        Ok(object) => Next::Object(object),
        Err(error) if error.line() == 1 && !error.is_eof() => Next::Line,
        Err(_) => Next::Broken,
    }
}

fn first_value(text: &str) -> Result<&str, serde_json::Error> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    values.next().map_or(Ok(""), |value| value.map(RawValue::get))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_time_is_read_however_it_is_written() {
        for value in [
            json!("2026-11-16T08:00:25Z"),
            json!("2026-11-16T09:00:25.000+01:00"),
            json!("2026-11-16T03:00:25-0500"),
            json!(1_794_816_025),
            json!(1_794_816_025.0),
            json!(1_794_816_025_000_i64),
            json!("1794816025000"),
            json!(1_794_816_025_000_000_i64),
            json!(1_794_816_025_000_000_000_i64),
        ] {
            assert_eq!(time(&value), Some(1_794_816_025_000), "{value}");
        }
        for value in [json!("yesterday"), json!(-5), json!(null), json!("NaN"), json!(1e300), json!("9999-99-99")] {
            assert_eq!(time(&value), None, "{value}");
        }
    }

    #[test]
    fn objects_are_found_wherever_they_end() {
        assert_eq!(next_object(" {\"a\":1}{\"b\":2}"), Next::Object("{\"a\":1}"));
        assert_eq!(next_object("{\n\"a\":\n1}\nx"), Next::Object("{\n\"a\":\n1}"));
        assert_eq!((next_object("{a}\n{}"), next_object("a{}")), (Next::Line, Next::Line));
        assert_eq!((next_object("{\"a\":\n1"), next_object("{\"a\":\n{]")), (Next::Broken, Next::Broken));
    }
}
