//! A rule of a time zone, and behind its line feed times of clocks there.

#![no_main]

use event::Zone;
use event::time::{DAY_MILLIS, rfc3339};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (rule, times) = event_fuzz::halves(input);
    let Ok(Ok(zone)) = std::str::from_utf8(rule).map(str::parse::<Zone>) else { return };
    assert_eq!(zone.to_string().parse::<Zone>().as_ref(), Ok(&zone));
    for time in times.chunks_exact(8) {
        let time = i64::from_le_bytes(time.try_into().expect("there are eight of them"));
        // Further than any format can tell.
        let local = time % (3_000_000 * DAY_MILLIS);
        let instant = zone.instant(local);
        // POSIX: a rule's hours go up to 24, and those of summer time are told by themselves.
        assert!((instant - local).abs() <= 26 * 3_600_000, "{rule:?} {local}");
        let _ = rfc3339(instant);
    }
});
