//! What stands where a rule matched: told from the request, by whoever wants to know.
//!
//! A [`Spot`] counts: which part of the request, how often decoded, which bytes of that. It
//! travels in a few digits where the text itself would travel twice. Agent and processor
//! must count alike, so the order of [`views::each`] and what [`Layers`] and [`Form`] do
//! belong to the frame's version.

use super::decode::{Form, Layers, next};
use super::views::{self, Source, View};
use crate::attack::{Field, Finding, RuleFacts};
use crate::format::Access;
use crate::unescape::escaped_len;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Characters of an excerpt.
pub const EXCERPT_CHARS_MAX: usize = 120;

/// Where a rule matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// Which part of the request, in the order of [`views::each`], counted from 0.
    pub view: u16,
    /// How often it was decoded, 0 to 3.
    pub layer: u8,
    pub form: Form,
    /// The bytes of that text which matched.
    pub start: u16,
    pub end: u16,
}

/// What rules found in a request, which is gone through once for all of them. A spot that the
/// request does not have, which only another version's agent could send, has no excerpt.
pub fn findings(access: Option<&Access<'_>>, hits: &[(&str, RuleFacts, Spot)]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = hits.iter().map(|(rule, facts, spot)| bare(rule, facts, *spot)).collect();
    let Some(access) = access else { return findings };
    let mut number = 0;
    views::each_with_source(access, |view, source| {
        let here = findings.iter_mut().zip(hits).filter(|(_, (_, _, spot))| spot.view == number);
        for (finding, (_, _, spot)) in here {
            finding.field = view.field;
            finding.parameter = view.parameter.map(parameter_name);
            finding.excerpt = excerpt_at(&view, *spot);
            finding.span = span(access.line, source, part(&view, source, *spot));
        }
        number = number.saturating_add(1);
    });
    findings
}

/// What is known of a finding without the request.
fn bare(rule: &str, facts: &RuleFacts, spot: Spot) -> Finding {
    Finding {
        rule: rule.to_owned(),
        category: facts.category,
        confidence: facts.confidence,
        score: facts.score,
        severity: facts.severity,
        cve: facts.cve.clone(),
        field: Field::RequestLine,
        parameter: None,
        layer: spot.layer,
        excerpt: String::new(),
        span: None,
        names: facts.names.clone(),
    }
}

/// Which bytes of its source hold what matched.
fn part(view: &View<'_>, source: Source<'_>, spot: Spot) -> Range<usize> {
    let from = place(source.sent, view.text);
    match (spot.layer, spot.form) {
        (0, Form::Whole) => from + usize::from(spot.start)..from + usize::from(spot.end),
        _ => from..from + view.text.len(),
    }
}

/// Where those bytes stand in the line. Apache may have escaped some.
fn span(line: &[u8], source: Source<'_>, part: Range<usize>) -> Option<(u32, u32)> {
    let from = place(line, source.written);
    let at = |byte: usize| u32::try_from(from + escaped_len(source.written, byte)).ok();
    (from + source.written.len() <= line.len()).then_some(())?;
    Some((at(part.start)?, at(part.end)?))
}

/// Where `part`, which lies in `whole`, begins in it.
fn place(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
}

fn excerpt_at(view: &View<'_>, spot: Spot) -> String {
    let mut layers = Layers::new(view);
    while layers.layer < spot.layer && layers.deeper() {}
    let form = spot.form.of(layers.text());
    let text = form.as_deref().unwrap_or(layers.text());
    let end = usize::from(spot.end).min(text.len());
    excerpt(text, usize::from(spot.start).min(end)..end)
}

/// The name of a query parameter as people read it.
pub(crate) fn parameter_name(written: &[u8]) -> String {
    let decoded = next(written, Field::QueryKey);
    excerpt(decoded.as_deref().unwrap_or(written), 0..0)
}

/// The text around a match, in at most [`EXCERPT_CHARS_MAX`] characters that are safe to
/// print.
pub(super) fn excerpt(text: &[u8], at: Range<usize>) -> String {
    let before = EXCERPT_CHARS_MAX.saturating_sub(at.len()) / 2;
    let start = at.start.saturating_sub(before);
    let end = text.len().min(start + 4 * EXCERPT_CHARS_MAX);
    let short = &text[start..text.len().min(start + EXCERPT_CHARS_MAX)];
    if let Ok(plain) = std::str::from_utf8(short)
        && short.iter().all(|byte| (0x20..0x7f).contains(byte))
    {
        return plain.to_owned();
    }
    String::from_utf8_lossy(&text[start..end]).chars().map(printable).take(EXCERPT_CHARS_MAX).collect()
}

/// All of a text, safe to print.
pub(super) fn whole(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().map(printable).collect()
}

fn printable(char: char) -> char {
    if char.is_control() { '\u{fffd}' } else { char }
}

/// On the wire: `[view, layer, form, start, end]`.
type Numbers = (u16, u8, u8, u16, u16);

impl Serialize for Spot {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let numbers: Numbers = (self.view, self.layer, self.form as u8, self.start, self.end);
        numbers.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Spot {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Spot, D::Error> {
        let (view, layer, form, start, end) = Numbers::deserialize(deserializer)?;
        Ok(Spot { view, layer, form: Form::ALL.get(usize::from(form)).copied().unwrap_or_default(), start, end })
    }
}
