use super::*;
use crate::format::Format;
use crate::unescape::escape;
use proptest::prelude::*;

fn line(target: &[u8], referer: &[u8], agent: &[u8]) -> Vec<u8> {
    let mut line = br#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET "#.to_vec();
    line.extend(escape(target));
    line.extend(br#" HTTP/1.1" 200 512 ""#);
    line.extend(escape(referer));
    line.extend(br#"" ""#);
    line.extend(escape(agent));
    line.push(b'"');
    line
}

fn categories(target: &str) -> Vec<&'static str> {
    let line = line(target.as_bytes(), b"-", b"Mozilla/5.0");
    let parsed = Format::Combined.parse(&line);
    let attack = Classifier::embedded().classify(parsed.access().unwrap());
    attack.map(|attack| attack.categories().iter().map(|category| category.name()).collect()).unwrap_or_default()
}
