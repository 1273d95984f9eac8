//! Times as `%{FORMAT}t` writes them (Apache HTTP Server 2.4, mod_log_config, "Custom Log
//! Formats"; POSIX strftime).

use crate::time::{Millis, civil};
use crate::zone::Zone;

/// The end of the year 9999: RFC 3339, and so a document, can write no later time.
pub const MILLIS_MAX: Millis = 253_402_300_799_999;

/// One piece of a time.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(u8),
    Number {
        part: Part,
        digits: usize,
    },
    /// `%e`, `%k`, `%l`: two places, the first of which may be a blank.
    Blank(Part),
    Month {
        full: bool,
    },
    Weekday {
        full: bool,
    },
    /// `%z`: `+hhmm`.
    Zone,
    /// `%s`: seconds since 1970, as many digits as there are.
    Epoch,
    /// `%p`: `AM` or `PM`.
    Half,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Year,
    ShortYear,
    Month,
    Day,
    DayOfYear,
    Hour,
    Hour12,
    Minute,
    Second,
}

/// A compiled format of a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strftime(Vec<Piece>);

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// What has been read of a time, perhaps from several fields.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    hour: i64,
    hour12: Option<i64>,
    afternoon: bool,
    minute: i64,
    second: i64,
    /// Its offset from UTC, where it tells one.
    zone_minutes: Option<i64>,
    epoch: Option<i64>,
}

impl Strftime {
    /// Compiles a format.
    ///
    /// # Errors
    /// The conversion that cannot be read, with the reason.
    pub fn compile(format: &str) -> Result<Strftime, String> {
        let mut pieces = Vec::new();
        let mut bytes = format.bytes();
        while let Some(byte) = bytes.next() {
            if byte != b'%' {
                pieces.push(Piece::Text(byte));
                continue;
            }
            let conversion = bytes.next().ok_or("a `%` at its end")?;
            expand(conversion, &mut pieces)?;
        }
        Ok(Strftime(pieces))
    }

    /// Whether date and time of day can be told from it.
    pub fn is_whole(&self) -> bool {
        let has = |part| {
            self.0.iter().any(|piece| matches!(piece, Piece::Number { part: p, .. } | Piece::Blank(p) if *p == part))
        };
        let month = has(Part::Month) || self.0.iter().any(|piece| matches!(piece, Piece::Month { .. }));
        let date = (has(Part::Year) || has(Part::ShortYear)) && (month && has(Part::Day) || has(Part::DayOfYear));
        let clock = (has(Part::Hour) || has(Part::Hour12) && self.0.contains(&Piece::Half)) && has(Part::Minute);
        self.0.contains(&Piece::Epoch) || date && clock
    }

    /// Whether it tells its offset from UTC.
    pub fn tells_zone(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Zone | Piece::Epoch))
    }

    /// All that these formats tell together.
    pub fn joined<'a>(formats: impl Iterator<Item = &'a Strftime>) -> Strftime {
        Strftime(formats.flat_map(|format| format.0.clone()).collect())
    }

    /// Reads a time at the start of `text` into `moment`. Returns how many bytes it has;
    /// `None` where no time of this format stands there.
    pub fn read(&self, text: &[u8], moment: &mut Moment) -> Option<usize> {
        self.0.iter().try_fold(0, |at, piece| Some(at + step(piece, &text[at..], moment)?))
    }
}

/// Names of months and weekdays are those of the C locale, which is what Apache runs in
/// unless somebody changed that: then lines do not fit, and say so.
fn expand(conversion: u8, pieces: &mut Vec<Piece>) -> Result<(), String> {
    let number = |part, digits| Piece::Number { part, digits };
    let two = |part| number(part, 2);
    let (colon, slash) = (Piece::Text(b':'), Piece::Text(b'/'));
    match conversion {
        b'Y' => pieces.push(number(Part::Year, 4)),
        b'y' => pieces.push(two(Part::ShortYear)),
        b'm' => pieces.push(two(Part::Month)),
        b'd' => pieces.push(two(Part::Day)),
        b'e' => pieces.push(Piece::Blank(Part::Day)),
        b'j' => pieces.push(number(Part::DayOfYear, 3)),
        b'H' => pieces.push(two(Part::Hour)),
        b'k' => pieces.push(Piece::Blank(Part::Hour)),
        b'I' => pieces.push(two(Part::Hour12)),
        b'l' => pieces.push(Piece::Blank(Part::Hour12)),
        b'p' => pieces.push(Piece::Half),
        b'M' => pieces.push(two(Part::Minute)),
        b'S' => pieces.push(two(Part::Second)),
        b's' => pieces.push(Piece::Epoch),
        b'z' => pieces.push(Piece::Zone),
        b'b' | b'h' => pieces.push(Piece::Month { full: false }),
        b'B' => pieces.push(Piece::Month { full: true }),
        b'a' => pieces.push(Piece::Weekday { full: false }),
        b'A' => pieces.push(Piece::Weekday { full: true }),
        b'T' => pieces.extend([two(Part::Hour), colon.clone(), two(Part::Minute), colon, two(Part::Second)]),
        b'R' => pieces.extend([two(Part::Hour), colon, two(Part::Minute)]),
        b'D' => pieces.extend([two(Part::Month), slash.clone(), two(Part::Day), slash, two(Part::ShortYear)]),
        b'F' => pieces.extend([
            number(Part::Year, 4),
            Piece::Text(b'-'),
            two(Part::Month),
            Piece::Text(b'-'),
            two(Part::Day),
        ]),
        b'n' => pieces.push(Piece::Text(b'\n')),
        b't' => pieces.push(Piece::Text(b'\t')),
        b'%' => pieces.push(Piece::Text(b'%')),
        b'Z' => return Err("`%Z`, the name of a zone, which may stand for several: use `%z`".to_owned()),
        other => return Err(format!("`%{}`, which is not understood", char::from(other).escape_default())),
    }
    Ok(())
}

/// Reads one piece. Returns its bytes.
fn step(piece: &Piece, text: &[u8], read: &mut Moment) -> Option<usize> {
    match piece {
        Piece::Text(byte) => (text.first() == Some(byte)).then_some(1),
        Piece::Number { part, digits } => {
            read.set(*part, number(text.get(..*digits)?)?)?;
            Some(*digits)
        }
        Piece::Blank(part) => {
            let text = text.get(..2)?;
            read.set(*part, number(text.strip_prefix(b" ").unwrap_or(text))?)?;
            Some(2)
        }
        Piece::Month { full } => {
            let (at, bytes) = name(&MONTHS, *full, text)?;
            read.month = Some(at as i64 + 1);
            Some(bytes)
        }
        Piece::Weekday { full } => name(&WEEKDAYS, *full, text).map(|(_, bytes)| bytes),
        Piece::Zone => {
            let sign = match text.first()? {
                b'+' => 1,
                b'-' => -1,
                _ => return None,
            };
            let (hours, minutes) = (number(text.get(1..3)?)?, number(text.get(3..5)?)?);
            (hours < 24 && minutes < 60).then_some(())?;
            read.zone_minutes = Some(sign * (hours * 60 + minutes));
            Some(5)
        }
        Piece::Epoch => {
            let digits = text.iter().take(12).take_while(|byte| byte.is_ascii_digit()).count();
            read.epoch = Some(number(text.get(..digits).filter(|digits| !digits.is_empty())?)?);
            Some(digits)
        }
        Piece::Half => {
            read.afternoon = match text.get(..2)? {
                b"AM" => false,
                b"PM" => true,
                _ => return None,
            };
            Some(2)
        }
    }
}

fn name(names: &[&str], full: bool, text: &[u8]) -> Option<(usize, usize)> {
    let written = |name: &str| if full { name.len() } else { 3 };
    let found = names.iter().position(|name| text.starts_with(&name.as_bytes()[..written(name)]))?;
    Some((found, written(names[found])))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
}

impl Moment {
    /// Takes a number in. `None` if it cannot be one of its kind.
    fn set(&mut self, part: Part, number: i64) -> Option<()> {
        let within = |first, last| (first..=last).contains(&number).then_some(number);
        match part {
            Part::Year => self.year = Some(number),
            // POSIX: 69 to 99 are of the 20th century.
            Part::ShortYear => self.year = Some(number + if number < 69 { 2000 } else { 1900 }),
            Part::Month => self.month = Some(within(1, 12)?),
            Part::Day => self.day = Some(within(1, 31)?),
            Part::DayOfYear => self.day_of_year = Some(within(1, 366)?),
            Part::Hour => self.hour = within(0, 23)?,
            Part::Hour12 => self.hour12 = Some(within(1, 12)?),
            Part::Minute => self.minute = within(0, 59)?,
            Part::Second => self.second = within(0, 60)?,
        }
        Some(())
    }

    /// When it is, on a clock of `zone` unless it tells its own; `None` as long as day or
    /// year are missing, or for a day that no calendar has.
    pub fn time(&self, zone: &Zone) -> Option<Millis> {
        if let Some(epoch) = self.epoch {
            return Some(epoch * 1000).filter(|at| *at <= MILLIS_MAX);
        }
        let days = match (self.month, self.day, self.day_of_year) {
            (Some(month), Some(day), _) => civil(self.year?, month, day)?,
            (_, _, Some(day)) => civil(self.year?, 1, 1)? + day - 1,
            _ => return None,
        };
        let hour = self.hour12.map_or(self.hour, |hour| hour % 12 + if self.afternoon { 12 } else { 0 });
        let local = ((days * 1440 + hour * 60 + self.minute) * 60 + self.second) * 1000;
        Some(self.zone_minutes.map_or_else(|| zone.instant(local), |offset| local - offset * 60_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: &str, text: &str) -> Option<(usize, Option<String>)> {
        let mut moment = Moment::default();
        let bytes = Strftime::compile(format).unwrap().read(text.as_bytes(), &mut moment)?;
        Some((bytes, moment.time(&Zone::UTC).map(crate::time::rfc3339)))
    }

    #[test]
    fn times_are_read_as_strftime_writes_them() {
        for (format, text, at) in [
            ("%Y-%m-%dT%H:%M:%S%z", "2026-11-16T09:00:25+0100", "2026-11-16T08:00:25.000Z"),
            ("%d/%b/%Y:%T %z", "16/Nov/2026:08:00:25 -0030", "2026-11-16T08:30:25.000Z"),
            ("%A, %e %B %Y %I:%M %p", "Monday,  6 May 2024 12:05 AM", "2024-05-06T00:05:00.000Z"),
            ("%D %R", "11/16/26 23:59", "2026-11-16T23:59:00.000Z"),
            ("%s", "1794816025", "2026-11-16T08:00:25.000Z"),
            ("%Y %j %k", "2024 366  9", "2024-12-31T09:00:00.000Z"),
        ] {
            assert_eq!(read(format, text), Some((text.len(), Some(at.to_owned()))), "{format}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for (format, text) in
            [("%F", "2026-13-01"), ("%F", "2026-1-01"), ("%T", "24:00:00"), ("%b", "Mai"), ("%z", "0100"), ("%s", "x")]
        {
            assert_eq!(read(format, text), None, "{format} {text}");
        }
        assert_eq!(read("%s", "253402300799"), Some((12, Some("9999-12-31T23:59:59.000Z".to_owned()))));
        assert_eq!(read("%s", "253402300800"), Some((12, None)), "no year of four digits");
        assert_eq!(read("%F", "2026-02-30"), Some((10, None)), "no day of the calendar");
        assert_eq!(read("%T", "08:00:00"), Some((8, None)), "no date");
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name() {
        assert_eq!(
            Strftime::compile("%F %Z").unwrap_err(),
            "`%Z`, the name of a zone, which may stand for several: use `%z`"
        );
        assert_eq!(Strftime::compile("%c").unwrap_err(), "`%c`, which is not understood");
        assert_eq!(Strftime::compile("%").unwrap_err(), "a `%` at its end");
    }
}
