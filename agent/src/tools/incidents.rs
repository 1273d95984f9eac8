//! `twosec-agent incidents`: what a log holds, an incident each.

use super::{Bench, Reading, each_line};
use crate::behaviour::{Limits, Observer, Place};
use crate::redaction::{RedactSettings, Redaction};
use crate::tail::RawLine;
use event::address::network;
use event::incident::Incident;
use event::redaction::KEY_BYTES;
use event::time::rfc3339;
use event::waf::{IpVersion, ip_set};
use event::{Classifier, EventId};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Instant;

/// What is printed of incidents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// An object for each, one a line.
    Json,
    /// The actors as networks, one a line.
    Networks,
    /// The actors as the body of an IP set of AWS WAF.
    IpSet(IpVersion),
}

/// Prints the incidents of a log.
pub fn incidents(path: &Path, reading: Reading, classifier: Classifier, shape: Shape) -> anyhow::Result<()> {
    let mut watch = Watch::new(Bench::new(path, reading, classifier));
    each_line(path, |line| {
        watch.see(line);
        Ok(true)
    })?;
    let mut out = BufWriter::new(io::stdout().lock());
    watch.print(shape, &mut out)?;
    Ok(out.flush()?)
}

/// An observer that is shown one log, and what it tells.
struct Watch {
    bench: Bench,
    redaction: Redaction,
    observer: Observer,
    number: u64,
    incidents: BTreeMap<EventId, Incident>,
    /// The lines that belong to an incident, counted from 1.
    lines: BTreeMap<EventId, Vec<u64>>,
}

impl Watch {
    fn new(bench: Bench) -> Watch {
        Watch {
            observer: Observer::new(&bench.host.id, Limits::default(), Instant::now()),
            // The masks are compared with each other alone, and nobody sees them.
            redaction: Redaction::new(&RedactSettings::default(), [0; KEY_BYTES]),
            bench,
            number: 0,
            incidents: BTreeMap::new(),
            lines: BTreeMap::new(),
        }
    }

    fn see(&mut self, line: RawLine<'_>) {
        self.number += 1;
        let event = self.bench.event(line);
        let parsed = event.parsed();
        let (text, _) = self.redaction.apply(&event.line, &parsed);
        let shown = match &text {
            Cow::Borrowed(_) => parsed.clone(),
            Cow::Owned(text) => event.origin.parse(text),
        };
        let written = parsed.time().map_or(&b""[..], |time| time.written);
        let place = Place { life: event.origin.life, offset: event.offset, length: event.length, written };
        let told = self.observer.see(place, &shown, None, event.attack.as_ref(), event.time);
        self.observer.framed(place.life, event.offset + event.length + 1);
        if let Some(incident) = told.incident {
            self.lines.entry(incident).or_default().push(self.number);
        }
        self.take(told.incidents);
    }

    fn take(&mut self, incidents: Vec<Incident>) {
        self.incidents.extend(incidents.into_iter().map(|incident| (incident.id, incident)));
    }

    fn print(mut self, shape: Shape, out: &mut impl Write) -> anyhow::Result<()> {
        let rest = self.observer.catch_up();
        self.take(rest);
        let mut incidents: Vec<&Incident> = self.incidents.values().collect();
        incidents.sort_by_key(|incident| (incident.first_seen, incident.id));
        let networks: BTreeSet<_> = incidents.iter().filter_map(|incident| network(&incident.actor).ok()).collect();
        match shape {
            Shape::Json => {
                for incident in incidents {
                    let lines = self.lines.get(&incident.id).map(Vec::as_slice).unwrap_or_default();
                    writeln!(out, "{}", as_json(incident, lines)?)?;
                }
            }
            Shape::Networks => networks.iter().try_for_each(|network| writeln!(out, "{network}"))?,
            Shape::IpSet(version) => writeln!(out, "{:#}", ip_set("twosec-actors", version, &networks))?,
        }
        Ok(())
    }
}

/// An incident with its times as people write them, and the lines that belong to it.
fn as_json(incident: &Incident, lines: &[u64]) -> serde_json::Result<Value> {
    let mut value = serde_json::to_value(incident)?;
    value["source"] = value["actor"].take();
    value["from"] = json!(rfc3339(incident.first_seen));
    value["to"] = json!(rfc3339(incident.last_seen));
    value["phases"] = incident.phases.iter().map(|(phase, at)| json!({"phase": phase, "from": rfc3339(*at)})).collect();
    value["targets"] = incident.targets.iter().map(|(path, count)| json!({"path": path, "count": count})).collect();
    value["lines"] = json!(lines);
    let fields = value.as_object_mut().expect("an incident is an object");
    ["actor", "first_seen", "last_seen"].iter().for_each(|key| _ = fields.remove(*key));
    Ok(value)
}
