//! What judging a line costs: on visits, among 15 and 95 % attacks, and at worst.
//!
//!     cargo bench -p event --bench classify                      the shipped sample
//!     cargo bench -p event --bench classify -- LOG LABELS        another labelled log
//!
//! Labels have a row for each line behind a title: line number, class, and more. The worst
//! case is searched for: pieces of attacks are put together to lines of 8 KB, and of each
//! round the slowest is changed further.

use event::format::Access;
use event::{Classifier, Format};
use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

/// Runs of which the fastest counts: others share the machine.
const RUNS: usize = 25;

/// Rounds of the search for slow lines, and tries in each.
const ROUNDS: usize = 300;
const TRIES: usize = 8;

/// Bytes of a target that the search makes; Apache takes a request line of 8,190.
const TARGET_BYTES: usize = 8_100;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/data/dvwa");
    let log = arguments.next().map_or_else(|| data.join("access.log"), PathBuf::from);
    let labels = arguments.next().map_or_else(|| data.join("labels.tsv"), PathBuf::from);
    let log = fs::read(&log).expect("the log can be read");
    let labels = fs::read_to_string(&labels).expect("the labels can be read");
    let classifier = Classifier::embedded();
    let (mut visits, mut attacks) = (Vec::new(), Vec::new());
    for (line, label) in log.split(|byte| *byte == b'\n').zip(labels.lines().skip(1)) {
        let is_visit = label.split('\t').any(|column| column.starts_with("benign"));
        if let event::Parsed::Access(access) = Format::Auto.parse(line) {
            if is_visit { visits.push(access) } else { attacks.push(access) }
        }
    }
    println!("{} visits, {} attacks and scans", visits.len(), attacks.len());
    println!("visits          {:>8.0} ns a line", fastest(&classifier, &visits));
    for percent in [15, 95] {
        println!("{percent} % attacks    {:>8.0} ns a line", fastest(&classifier, &mixed(&visits, &attacks, percent)));
    }
    println!(
        "slowest line    {:>8.0} ns",
        attacks.iter().chain(&visits).map(|one| once(&classifier, one)).fold(0.0, f64::max)
    );
    let target = search(&classifier, &attacks);
    // Measured anew: of thousands of lines that are measured a few times, the slowest had bad luck, too.
    let line = line(&target);
    let nanos =
        Format::Combined.parse(&line).access().map_or(0.0, |access| fastest(&classifier, std::slice::from_ref(access)));
    println!("slowest found   {nanos:>8.0} ns: {}", String::from_utf8_lossy(&target[..target.len().min(160)]));
}

/// Nanoseconds a line.
fn fastest(classifier: &Classifier, lines: &[Access<'_>]) -> f64 {
    let run = || {
        let begun = Instant::now();
        lines.iter().for_each(|access| drop(black_box(classifier.judge(access))));
        begun.elapsed().as_nanos() as f64 / lines.len().max(1) as f64
    };
    (0..RUNS).map(|_| run()).fold(f64::MAX, f64::min)
}

/// A log of which so many percent are attacks, evenly spread.
fn mixed<'a>(visits: &[Access<'a>], attacks: &[Access<'a>], percent: usize) -> Vec<Access<'a>> {
    let (mut visits, mut attacks) = (visits.iter().cycle(), attacks.iter().cycle());
    let one = |at: usize| if at * percent % 100 < percent { attacks.next() } else { visits.next() };
    (0..4_000).filter_map(one).cloned().collect()
}

fn once(classifier: &Classifier, access: &Access<'_>) -> f64 {
    let run = || {
        let begun = Instant::now();
        black_box(classifier.judge(access));
        begun.elapsed().as_nanos() as f64
    };
    (0..5).map(|_| run()).fold(f64::MAX, f64::min)
}

/// Random numbers that are the same in each run (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

fn line(target: &[u8]) -> Vec<u8> {
    [b"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] \"GET ", target, b" HTTP/1.1\" 200 5 \"-\" \"-\""].concat()
}

/// The target of the slowest line that was found.
fn search(classifier: &Classifier, attacks: &[Access<'_>]) -> Vec<u8> {
    let targets = attacks.iter().filter_map(|access| access.request.as_ref()?.target);
    let pieces: Vec<&[u8]> = targets.filter(|target| target.len() > 20).collect();
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let mut worst = (0.0, pieces.first().map_or_else(|| b"/".to_vec(), |piece| piece.to_vec()));
    for _ in 0..ROUNDS {
        for _ in 0..TRIES {
            let target = changed(&worst.1, &pieces, &mut dice);
            let line = line(&target);
            let parsed = Format::Combined.parse(&line);
            let Some(nanos) = parsed.access().map(|access| once(classifier, access)) else { continue };
            if nanos > worst.0 {
                worst = (nanos, target);
            }
        }
    }
    worst.1
}

/// A target with a piece of an attack put in, repeated or taken out.
fn changed(target: &[u8], pieces: &[&[u8]], dice: &mut Dice) -> Vec<u8> {
    let piece = pieces[dice.below(pieces.len())];
    let from = dice.below(piece.len());
    let piece = &piece[from..(from + 1 + dice.below(48)).min(piece.len())];
    let at = 1 + dice.below(target.len().saturating_sub(1));
    let (head, tail) = target.split_at(at.min(target.len()));
    let mut changed = match dice.below(4) {
        0 => [head, &piece.repeat(1 + dice.below(200))].concat(),
        1 => [head, piece, tail].concat(),
        2 => [head, piece, tail.get(piece.len()..).unwrap_or_default()].concat(),
        _ => [head, &head[..dice.below(head.len())], tail].concat(),
    };
    changed.retain(|byte| (0x21..0x7f).contains(byte) && *byte != b'"');
    changed.truncate(TARGET_BYTES);
    if changed.is_empty() { b"/".to_vec() } else { changed }
}
