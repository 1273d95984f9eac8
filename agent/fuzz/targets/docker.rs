//! A file as Docker might write it, that comes in pieces: its lines, what they wrap, and what
//! that is.

#![no_main]

use agent::tail::{Lines, Part};
use event::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((piece, mut file)) = input.split_first() else { return };
    let expected: Vec<&[u8]> = file.split(|byte| *byte == b'\n').collect();
    let (mut lines, mut read) = (Lines::default(), Vec::new());
    while lines.fill(&mut file, usize::from(*piece) + 1).expect("a slice can be read") > 0 {
        while let Some(line) = lines.next_line() {
            read.push(line.text.to_vec());
        }
    }
    read.extend(lines.rest().map(|line| line.text.to_vec()));
    assert!(read.iter().eq(expected.iter().take(read.len())));
    assert!(expected[read.len()..].iter().all(|line| line.is_empty()));
    for part in read.iter().filter_map(|line| Part::read(line)) {
        let (text, _) = part.text();
        let _ = (part.time(), Format::Auto.parse(text.as_bytes()));
    }
});
