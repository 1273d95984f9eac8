//! An ErrorLogFormat, and behind its line feed a line that is read in it.

#![no_main]

use event::Format;
use event::format::ErrorLogFormat;
use event::format::error_log::{goes_on, may_go_on};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

fuzz_target!(|input: &[u8]| {
    let (written, line) = event_fuzz::halves(input);
    let _ = (may_go_on(line), goes_on(line));
    event_fuzz::read(&Format::Error, line);
    let Ok(written) = std::str::from_utf8(written) else { return };
    let Ok(format) = ErrorLogFormat::compile(written) else { return };
    let again = ErrorLogFormat::compile(&format.written()).expect("what was compiled can be compiled again");
    let (format, again) = (Format::CustomError(Arc::new(format)), Format::CustomError(Arc::new(again)));
    assert_eq!(format, again);
    assert_eq!(format.parse(line), again.parse(line));
    event_fuzz::walk(&format, line);
});
