//! Times as logs write them, and as documents need them. No clock.

use std::fmt;
use std::str::FromStr;

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = i64;

/// Milliseconds of a day.
pub const DAY_MILLIS: i64 = 86_400_000;

/// When the year 10,000 begins, which neither RFC 3339 nor an index knows.
pub const YEAR_10_000: Millis = 253_402_300_800_000;

/// Length of [`clf`]'s input: `16/Nov/2026:08:00:25 +0000`.
pub const CLF_BYTES: usize = 26;

/// Reads the time of the Common Log Format, `%t` without its brackets
/// (Apache HTTP Server 2.4, mod_log_config, "Custom Log Formats", `%t`).
///
/// `None` unless the text has exactly this shape and is a date of the calendar.
/// A leap second (`:60`) counts as the first second after it.
pub fn clf(text: &[u8]) -> Option<Millis> {
    let t: &[u8; CLF_BYTES] = text.try_into().ok()?;
    let shape = t[2] == b'/' && t[6] == b'/' && t[11] == b':' && t[14] == b':' && t[17] == b':';
    if !shape || t[20] != b' ' {
        return None;
    }
    let (day, month, year) = (digits(&t[0..2])?, month(&t[3..6])?, digits(&t[7..11])?);
    let (hour, minute, second) = (digits(&t[12..14])?, digits(&t[15..17])?, digits(&t[18..20])?);
    let (zone_hour, zone_minute) = (digits(&t[22..24])?, digits(&t[24..26])?);
    let sign = match t[21] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let valid = (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
        && zone_hour < 24
        && zone_minute < 60;
    if !valid {
        return None;
    }
    let offset = sign * (zone_hour * 60 + zone_minute) * 60;
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some((seconds - offset) * 1000)
}

/// Days since 1970-01-01 of a date; `None` if no calendar has it.
pub fn civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let valid = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    valid.then(|| days_from_civil(year, month, day))
}

/// Writes a time as RFC 3339 in UTC with milliseconds: `2026-11-16T08:00:25.000Z`.
pub fn rfc3339(at: Millis) -> String {
    let (days, rest) = (at.div_euclid(DAY_MILLIS), at.rem_euclid(DAY_MILLIS));
    let (year, month, day) = civil_from_days(days);
    let (seconds, millis) = (rest / 1000, rest % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = String::with_capacity("2026-11-16T08:00:25.000Z".len());
    push_date(&mut text, (year, month, day));
    for (before, number) in [('T', hour), (':', minute), (':', second)] {
        text.push(before);
        push_two_digits(&mut text, number);
    }
    text.push('.');
    text.push(digit(millis / 100));
    push_two_digits(&mut text, millis % 100);
    text.push('Z');
    text
}

fn push_date(text: &mut String, (year, month, day): (i64, i64, i64)) {
    if (0..10_000).contains(&year) {
        push_two_digits(text, year / 100);
        push_two_digits(text, year % 100);
    } else {
        text.push_str(&format!("{year:04}"));
    }
    for number in [month, day] {
        text.push('-');
        push_two_digits(text, number);
    }
}

fn push_two_digits(text: &mut String, number: i64) {
    text.push(digit(number / 10));
    text.push(digit(number % 10));
}

fn digit(number: i64) -> char {
    char::from(b'0' + number as u8)
}

/// Reads a time in UTC as RFC 3339 writes it, with or without a fraction of a second:
/// `2026-11-16T08:00:25.123456789Z`.
pub fn parse_rfc3339(text: &str) -> Option<Millis> {
    let (day, rest) = text.split_once('T')?;
    let day: Day = day.parse().ok()?;
    let rest = rest.strip_suffix('Z')?;
    let (clock, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let t = clock.as_bytes();
    if t.len() != 8 || t[2] != b':' || t[5] != b':' || fraction.len() > 9 {
        return None;
    }
    let (hour, minute, second) = (digits(&t[..2])?, digits(&t[3..5])?, digits(&t[6..])?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let millis = digits(format!("{fraction:0<3}").get(..3)?.as_bytes())?;
    Some(i64::from(day.0) * DAY_MILLIS + ((hour * 60 + minute) * 60 + second) * 1000 + millis)
}

/// As [`parse_rfc3339`], and with an offset from UTC, too: `2026-11-16T09:00:25+01:00`, or
/// `+0100`.
pub fn parse_rfc3339_offset(text: &str) -> Option<Millis> {
    let Some(at) = text.rfind(['+', '-']).filter(|at| *at > 10) else { return parse_rfc3339(text) };
    let (local, zone) = text.split_at(at);
    let zone: Vec<u8> = zone.bytes().filter(|byte| *byte != b':').collect();
    let [sign, hour @ .., _, _] = &*zone else { return None };
    let (hour, minute) = (digits(hour)?, digits(&zone[zone.len() - 2..])?);
    if zone.len() != 5 || hour > 23 || minute > 59 {
        return None;
    }
    let offset = (hour * 60 + minute) * 60_000;
    let local = parse_rfc3339(&format!("{local}Z"))?;
    Some(if *sign == b'-' { local + offset } else { local - offset })
}

/// A UTC day, in days since 1970-01-01; written `2026-11-16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i32);

impl Day {
    /// The UTC day of a time.
    pub fn of(at: Millis) -> Day {
        let days = at.div_euclid(DAY_MILLIS);
        Day(i32::try_from(days).unwrap_or(if days < 0 { i32::MIN } else { i32::MAX }))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity("2026-11-16".len());
        push_date(&mut text, civil_from_days(i64::from(self.0)));
        f.write_str(&text)
    }
}

/// A text that should be a day is not one.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a day: write it as 2026-11-16")]
pub struct NotADay(String);

impl FromStr for Day {
    type Err = NotADay;

    fn from_str(text: &str) -> Result<Day, NotADay> {
        let parse = || {
            let t = text.as_bytes();
            let shape = t.len() == 10 && t[4] == b'-' && t[7] == b'-';
            let (year, month, day) =
                shape.then_some(()).and_then(|()| Some((digits(&t[..4])?, digits(&t[5..7])?, digits(&t[8..])?)))?;
            civil(year, month, day).map(|days| Day::of(days * DAY_MILLIS))
        };
        parse().ok_or_else(|| NotADay(text.to_owned()))
    }
}

impl serde::Serialize for Day {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Day {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Day, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar.
/// After Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a number of days since 1970-01-01 (`civil_from_days`, as above).
pub fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

/// Days of a month, 28 to 31.
pub fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |n, c| c.is_ascii_digit().then(|| n * 10 + i64::from(c - b'0')))
}

fn month(name: &[u8]) -> Option<i64> {
    let names = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let at = names.chunks_exact(3).position(|n| n == name)?;
    Some(at as i64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_rfc_3339_is_read() {
        assert_eq!(parse_rfc3339("2026-11-16T08:00:25.123456789Z"), Some(1_794_816_025_123));
        assert_eq!(parse_rfc3339("2026-11-16T08:00:25Z").map(rfc3339).as_deref(), Some("2026-11-16T08:00:25.000Z"));
        for text in [
            "",
            "2026-11-16",
            "2026-11-16T08:00:25",
            "2026-11-16T24:00:25Z",
            "2026-13-16T08:00:25Z",
            "2026-11-16T08:00:25.x1Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    use proptest::prelude::*;

    #[test]
    fn an_offset_from_utc_is_taken_off() {
        let utc = parse_rfc3339("2026-11-16T08:00:25.5Z");
        for text in ["2026-11-16T08:00:25.5Z", "2026-11-16T10:30:25.500+02:30", "2026-11-15T22:00:25.5-1000"] {
            assert_eq!(parse_rfc3339_offset(text), utc, "{text}");
        }
        for text in [
            "2026-11-16T08:00:25",
            "2026-11-16T08:00:25+",
            "2026-11-16T08:00:25+99:00",
            "+",
            "2026-11-16T08:00:25Z+00:00",
        ] {
            assert_eq!(parse_rfc3339_offset(text), None, "{text}");
        }
        assert_eq!(rfc3339(YEAR_10_000 - 1), "9999-12-31T23:59:59.999Z");
    }

    proptest! {
        #[test]
        fn a_time_is_written_as_its_numbers_padded(at in any::<i32>().prop_map(|days| i64::from(days) * 86_399_117)) {
            let (year, month, day) = civil_from_days(at.div_euclid(DAY_MILLIS));
            let rest = at.rem_euclid(DAY_MILLIS);
            let (seconds, millis) = (rest / 1000, rest % 1000);
            let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            let expected = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z");
            prop_assert_eq!(rfc3339(at), expected);
        }
    }

    #[test]
    fn a_zone_is_taken_off() {
        assert_eq!(clf(b"16/Nov/2026:08:00:25 +0000"), Some(1_794_816_025_000));
        assert_eq!(clf(b"16/Nov/2026:10:30:25 +0230"), Some(1_794_816_025_000));
        assert_eq!(clf(b"15/Nov/2026:22:00:25 -1000"), Some(1_794_816_025_000));
        assert_eq!(rfc3339(1_794_816_025_000), "2026-11-16T08:00:25.000Z");
    }

    #[test]
    fn a_date_that_no_calendar_has_is_no_time() {
        for text in ["30/Feb/2026:08:00:25 +0000", "29/Feb/2025:08:00:25 +0000", "00/Nov/2026:08:00:25 +0000"] {
            assert_eq!(clf(text.as_bytes()), None, "{text}");
        }
        for text in ["16/nov/2026:08:00:25 +0000", "16/Nov/2026:24:00:25 +0000", "16/Nov/2026:08:00:25 0000", ""] {
            assert_eq!(clf(text.as_bytes()), None, "{text}");
        }
        assert!(clf(b"29/Feb/2024:23:59:60 +0000").is_some());
    }

    #[test]
    fn a_day_is_written_as_a_date() {
        assert_eq!(Day::of(1_794_816_025_000).to_string(), "2026-11-16");
        assert_eq!("2026-11-16".parse::<Day>().unwrap(), Day::of(1_794_816_025_000));
        let error = "2026-02-30".parse::<Day>().unwrap_err().to_string();
        assert_eq!(error, "`2026-02-30` is not a day: write it as 2026-11-16");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, like in "[0-9T:.Z+é-]{0,30}") {
            let _ = (parse_rfc3339_offset(&text), parse_rfc3339_offset(&like));
        }

        #[test]
        fn days_and_dates_are_each_others_inverse(days in -4_000_000i64..4_000_000) {
            let (y, m, d) = civil_from_days(days);
            prop_assert_eq!(days_from_civil(y, m, d), days);
            prop_assert!((1..=12).contains(&m) && (1..=days_in_month(y, m)).contains(&d));
        }
    }
}
