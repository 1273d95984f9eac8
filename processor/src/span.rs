//! A stretch of time, as an operator writes it.

use event::time::{DAY_MILLIS, parse_rfc3339_offset};
use event::{Day, Millis};

/// From a first moment on, up to one that is no longer in it. A side that is not given is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub from: Option<Millis>,
    pub to: Option<Millis>,
}

/// A text that tells no time, or two that tell no stretch.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotASpan {
    #[error("`{option}` is `{text}`: write a day such as 2026-11-16, or a time such as 2026-11-16T08:00:00Z")]
    Time { option: &'static str, text: String },
    #[error("`--to` ({to}) is not after `--from` ({from})")]
    Backwards { from: String, to: String },
}

impl Span {
    /// Reads what `--from` and `--to` say: RFC 3339, or a day, which is meant from its
    /// beginning to its end.
    pub fn read(from: Option<&str>, to: Option<&str>) -> Result<Span, NotASpan> {
        let first = from.map(|text| read("--from", text, 0)).transpose()?;
        let last = to.map(|text| read("--to", text, DAY_MILLIS)).transpose()?;
        match (first, last) {
            (Some(first), Some(last)) if last <= first => Err(NotASpan::Backwards {
                from: from.unwrap_or_default().to_owned(),
                to: to.unwrap_or_default().to_owned(),
            }),
            _ => Ok(Span { from: first, to: last }),
        }
    }

    /// Whether the `length` milliseconds from `at` on have a part in it.
    pub fn touches(&self, at: Millis, length: Millis) -> bool {
        self.from.is_none_or(|from| at + length > from) && !self.is_before(at)
    }

    /// Whether it is over at `at`.
    pub fn is_before(&self, at: Millis) -> bool {
        self.to.is_some_and(|to| at >= to)
    }
}

/// `day` is what is added to the beginning of a day.
fn read(option: &'static str, text: &str, day: Millis) -> Result<Millis, NotASpan> {
    let of_day = text.parse::<Day>().ok().map(|of| i64::from(of.0) * DAY_MILLIS + day);
    let time = of_day.or_else(|| parse_rfc3339_offset(text));
    time.ok_or_else(|| NotASpan::Time { option, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-16, 00:00.
    const MIDNIGHT: Millis = 1_794_787_200_000;

    #[test]
    fn a_day_is_meant_as_a_whole() {
        let span = Span::read(Some("2026-11-16"), Some("2026-11-16")).unwrap();
        assert_eq!(span, Span { from: Some(MIDNIGHT), to: Some(MIDNIGHT + DAY_MILLIS) });
        let hour = Span::read(Some("2026-11-16T01:00:00+01:00"), Some("2026-11-16T00:00:01.5Z")).unwrap();
        assert_eq!(hour, Span { from: Some(MIDNIGHT), to: Some(MIDNIGHT + 1_500) });
        assert_eq!(Span::read(None, None), Ok(Span::default()));
    }

    #[test]
    fn a_stretch_that_is_none_is_refused_with_what_to_write() {
        let told = Span::read(Some("yesterday"), None).unwrap_err().to_string();
        let expected =
            "`--from` is `yesterday`: write a day such as 2026-11-16, or a time such as 2026-11-16T08:00:00Z";
        assert_eq!(told, expected);
        let told = Span::read(Some("2026-11-16"), Some("2026-11-15")).unwrap_err().to_string();
        assert_eq!(told, "`--to` (2026-11-15) is not after `--from` (2026-11-16)");
    }

    #[test]
    fn an_hour_is_touched_by_what_begins_in_it() {
        let span = Span { from: Some(100), to: Some(200) };
        let hours = [0, 60, 100, 199, 200].map(|at| span.touches(at, 50));
        assert_eq!(hours, [false, true, true, true, false]);
        assert!(Span::default().touches(7, 1));
    }
}
