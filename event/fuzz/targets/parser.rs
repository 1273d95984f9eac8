//! A line of any kind in each of the formats that have a name.

#![no_main]

use event::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    for (_, format) in &Format::ALL {
        event_fuzz::read(format, line);
    }
    event_fuzz::walk(&Format::Auto, line);
});
