//! What one line costs on its way from bytes to a frame, step by step:
//! `cargo bench -p agent --bench line -- LOG`, with a log in combined format.

use agent::behaviour::{self, Engine, Limits, Place, Seen};
use event::frame::{Body, Header, Line};
use event::line::{Host, Origin};
use event::redact::{KEYS, Redactor};
use event::{Classifier, Format, HostKey, LifeId, Parsed};
use std::hint::black_box;
use std::time::{Duration, Instant};

const LINES_A_FRAME: usize = 5_000;

fn main() {
    let Some(path) = std::env::args().skip(1).find(|argument| !argument.starts_with('-')) else {
        return eprintln!("usage: cargo bench -p agent --bench line -- LOG");
    };
    let text = std::fs::read(&path).expect("the log can be read");
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let classifier = Classifier::embedded();
    let format = Format::Combined;
    println!("{} lines, {} bytes each", lines.len(), text.len() / lines.len().max(1));

    report("parse", lines.len(), || {
        lines.iter().for_each(|line| {
            black_box(format.parse(line));
        })
    });
    let redactor = Redactor::new(KEYS, [7; 32]);
    report("parse and look for secrets", lines.len(), || {
        lines.iter().for_each(|line| {
            black_box(redactor.masks(line, &format.parse(line)));
        })
    });
    let mut attacks = 0;
    report("parse and classify", lines.len(), || {
        let attack = |line: &&[u8]| format.parse(line).access().and_then(|access| classifier.judge(access)).is_some();
        attacks = lines.iter().filter(|line| attack(line)).count();
    });
    println!("{:>28} {:8.1} %", "attacks", attacks as f64 * 100.0 / lines.len() as f64);
    let parsed: Vec<Parsed<'_>> = lines.iter().map(|line| format.parse(line)).collect();
    report("client's address alone", lines.len(), || {
        parsed.iter().for_each(|parsed| _ = black_box(parsed.client_ip()));
    });
    report("and behaviour", lines.len(), || watch(&parsed));
    drop(parsed);
    report("and append", lines.len(), || drop(black_box(bodies(&lines, &classifier))));
    let bodies = bodies(&lines, &classifier);
    let plain: usize = bodies.iter().map(Body::bytes).sum();
    println!("{:>28} {:8} bytes a line", "rows", plain / lines.len());
    for level in [1, 3, 6] {
        let mut packed = 0;
        report(&format!("gzip at level {level} alone"), lines.len(), || {
            packed = bodies.iter().map(|body| body.encode(&header(), 0, body.lines(), level).len()).sum();
        });
        let units = packed as f64 / 25_000.0 * 1e6 / lines.len() as f64;
        println!(
            "{:>28} {:8.1} bytes a line, {units:.0} PUT units a million",
            "packed",
            packed as f64 / lines.len() as f64
        );
    }
}

/// Shows parsed lines to an engine that has seen nothing yet, without verdicts: nothing is
/// found in one that no others show.
fn watch(lines: &[Parsed<'_>]) {
    let mut engine = Engine::new("bench", Limits::default());
    for (number, parsed) in lines.iter().enumerate() {
        let (Some(access), Some(client)) = (parsed.access(), parsed.client_ip()) else { continue };
        let line = behaviour::Line::Access { client, access, attack: None };
        let place = Place { life: LifeId([7; 16]), offset: number as u64, length: 1, written: b"" };
        let at = parsed.time().map_or(0, |time| time.at);
        black_box(engine.observe(&Seen { place, at, line }));
    }
}

fn bodies(lines: &[&[u8]], classifier: &Classifier) -> Vec<Body> {
    let mut bodies = Vec::new();
    let mut offset = 0;
    for chunk in lines.chunks(LINES_A_FRAME) {
        let mut body = Body::default();
        for line in chunk {
            let parsed = Format::Combined.parse(line);
            let attack = parsed.access().and_then(|access| classifier.judge(access));
            let (length, time) = (line.len() as u64, parsed.time().map_or(0, |time| time.at));
            body.push(Line {
                offset,
                length,
                line,
                time,
                tells_time: true,
                attack: attack.as_ref(),
                ..Line::default()
            });
            offset += length + 1;
        }
        bodies.push(body);
    }
    bodies
}

fn header() -> Header {
    let path = "/var/log/apache2/access.log";
    let host = Host { id: "bench".into(), name: "bench".into() };
    let origin = Origin::new(host, path, HostKey::derive("bench").life(path, b"first"), Format::Combined);
    Header::new(origin, None)
}

/// The best of three runs: what disturbs only ever adds.
fn report(step: &str, lines: usize, mut work: impl FnMut()) {
    let best = (0..3).map(|_| time(&mut work)).min().expect("it ran");
    println!("{step:>28} {:8.0} ns a line", best.as_nanos() as f64 / lines as f64);
}

fn time(work: &mut impl FnMut()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}
