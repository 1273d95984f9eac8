//! The time zone of a log whose times tell none, such as Apache's error log.
//!
//! A zone travels with the lines as its rule, not as its name: `CET-1CEST,M3.5.0,M10.5.0/3`
//! (POSIX.1-2017, Base Definitions 8.3, "TZ"). So whoever reads them needs no database of
//! zones, and the same line is the same time for good, whatever the database says next year.

use crate::time::{DAY_MILLIS, Millis, civil_from_days};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Bytes of a rule. The longest of the zone database has 51.
const RULE_BYTES_MAX: usize = 128;

/// How far the clocks of a place are from UTC, and when. The default is UTC.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Zone(Option<Rule>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    written: String,
    zone: TimeZone,
}

impl Zone {
    /// UTC.
    pub const UTC: Zone = Zone(None);

    /// Whether it is UTC, all the year.
    pub fn is_utc(&self) -> bool {
        self.0.is_none()
    }

    /// When clocks there show `local`, which counts as if it were UTC.
    ///
    /// In autumn an hour comes twice: its first time is meant, since a line cannot tell. In
    /// spring an hour is left out: a clock that shows it has not been set forward yet, so it
    /// counts on from before. Both are what RFC 5545, section 3.3.5, says of calendars.
    pub fn instant(&self, local: Millis) -> Millis {
        let Some(rule) = &self.0 else { return local };
        let Some(clock) = clock(local) else { return local };
        let Ok(at) = rule.zone.to_ambiguous_timestamp(clock).compatible() else { return local };
        at.as_millisecond() + local.rem_euclid(1000)
    }
}

/// What a clock shows, to the second; `None` outside of the years -9999 to 9999.
fn clock(local: Millis) -> Option<DateTime> {
    let (days, rest) = (local.div_euclid(DAY_MILLIS), local.rem_euclid(DAY_MILLIS));
    let (year, month, day) = civil_from_days(days);
    let seconds = rest / 1000;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let [month, day, hour, minute, second] = [month, day, hour, minute, second].map(|number| number as i8);
    DateTime::new(i16::try_from(year).ok()?, month, day, hour, minute, second, 0).ok()
}

/// A text that is no rule of a time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no rule of a time zone: write it as POSIX does, such as `CET-1CEST,M3.5.0,M10.5.0/3`")]
pub struct NotAZone(String);

impl FromStr for Zone {
    type Err = NotAZone;

    fn from_str(text: &str) -> Result<Zone, NotAZone> {
        if ["UTC", "UTC0", "<UTC>0"].contains(&text) {
            return Ok(Zone::UTC);
        }
        let refused = || NotAZone(text.chars().take(RULE_BYTES_MAX).collect());
        if text.len() > RULE_BYTES_MAX {
            return Err(refused());
        }
        let zone = TimeZone::posix(text).map_err(|_| refused())?;
        Ok(Zone(Some(Rule { written: text.to_owned(), zone })))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.as_ref().map_or("UTC0", |rule| &rule.written))
    }
}

impl Serialize for Zone {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Zone, D::Error> {
        Cow::<str>::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{parse_rfc3339, rfc3339};
    use proptest::prelude::*;

    fn instant(zone: &str, local: &str) -> String {
        rfc3339(zone.parse::<Zone>().unwrap().instant(parse_rfc3339(local).unwrap()))
    }

    const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

    #[test]
    fn a_local_time_is_taken_for_the_zone_it_was_written_in() {
        for (zone, local, utc) in [
            ("UTC0", "2026-11-16T08:00:25.125Z", "2026-11-16T08:00:25.125Z"),
            (BERLIN, "2026-11-16T08:00:25.125Z", "2026-11-16T07:00:25.125Z"),
            (BERLIN, "2026-07-16T08:00:25Z", "2026-07-16T06:00:25.000Z"),
            ("IST-5:30", "2026-07-16T08:00:25Z", "2026-07-16T02:30:25.000Z"),
            ("EST5EDT,M3.2.0,M11.1.0", "2026-07-16T23:00:00Z", "2026-07-17T03:00:00.000Z"),
        ] {
            assert_eq!(instant(zone, local), utc, "{zone} {local}");
        }
    }

    #[test]
    fn an_hour_that_comes_twice_is_the_first_one_and_one_that_is_left_out_counts_on() {
        assert_eq!(instant(BERLIN, "2026-10-25T02:30:00Z"), "2026-10-25T00:30:00.000Z");
        assert_eq!(instant(BERLIN, "2026-10-25T03:00:00Z"), "2026-10-25T02:00:00.000Z");
        assert_eq!(instant(BERLIN, "2026-03-29T02:30:00Z"), "2026-03-29T01:30:00.000Z");
    }

    #[test]
    fn a_zone_travels_as_its_rule() {
        for rule in ["UTC0", BERLIN, "<+0330>-3:30"] {
            let zone: Zone = rule.parse().unwrap();
            let json = serde_json::to_string(&zone).unwrap();
            assert_eq!(json, format!("\"{rule}\""));
            assert_eq!(serde_json::from_str::<Zone>(&json).unwrap(), zone);
        }
        let refused = "Europe/Berlin".parse::<Zone>().unwrap_err().to_string();
        assert!(refused.starts_with("`Europe/Berlin` is no rule of a time zone"), "{refused}");
    }

    proptest! {
        #[test]
        fn no_rule_and_no_time_make_it_panic(rule in "[A-Z<>+-]{0,6}[0-9:,./MJ+-]{0,30}", local: i64) {
            if let Ok(zone) = rule.parse::<Zone>() {
                let bounded = local / 4;
                zone.instant(bounded);
            }
        }
    }
}
