//! A LogFormat, and behind its line feed a line that is read in it.

#![no_main]

use event::Format;
use event::format::LogFormat;
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

fuzz_target!(|input: &[u8]| {
    let (written, line) = event_fuzz::halves(input);
    let Ok(written) = std::str::from_utf8(written) else { return };
    let Ok(format) = LogFormat::compile(written) else { return };
    let again = LogFormat::compile(format.written()).expect("what was compiled can be compiled again");
    let (format, again) = (Format::Custom(Arc::new(format)), Format::Custom(Arc::new(again)));
    assert_eq!(format, again);
    assert_eq!(format.parse(line), again.parse(line));
    event_fuzz::walk(&format, line);
});
