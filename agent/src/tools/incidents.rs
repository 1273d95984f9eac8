//! `twosec-agent incidents`: what a log holds, an incident each.

use super::{Bench, InputError, Log, Reading};
use crate::behaviour::{Limits, Observer, Place};
use crate::enrich::{EnrichSettings, Enrichment};
use crate::host;
use crate::redaction::{RedactSettings, Redaction};
use event::address::{Networks, is_inside, network};
use event::incident::Incident;
use event::redaction::KEY_BYTES;
use event::time::rfc3339;
use event::waf::{IpVersion, ip_set};
use event::{Classifier, Event, EventId, Millis};
use ipnet::IpNet;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
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

/// Prints the incidents of logs of one host, whose lines are seen in the order of their times. What
/// requests came by `trusted_proxies` for others is those others'.
pub fn incidents(
    paths: &[PathBuf],
    reading: &Reading,
    classifier: Classifier,
    trusted_proxies: Networks,
    shape: Shape,
) -> anyhow::Result<()> {
    let classifier = Arc::new(classifier);
    let open = |path: &PathBuf| Source::open(path, reading.clone(), Arc::clone(&classifier));
    let mut sources = paths.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let mut watch = Watch::new(trusted_proxies);
    let waits = |source: &(usize, &mut Source)| source.1.next.is_some();
    while let Some((file, source)) = sources.iter_mut().enumerate().filter(waits).min_by_key(|(_, source)| source.at) {
        if let Some(event) = source.next.take() {
            watch.see(&event, (file, source.number));
        }
        source.advance()?;
    }
    let mut out = BufWriter::new(io::stdout().lock());
    watch.print(paths, shape, &mut out)?;
    Ok(out.flush()?)
}

/// One of the logs, and its next line.
struct Source {
    log: Log,
    bench: Bench,
    next: Option<Event>,
    /// The number of that line, counted from 1.
    number: u64,
    /// Its time, or that of the line before if it tells none.
    at: Millis,
}

impl Source {
    fn open(path: &Path, reading: Reading, classifier: Arc<Classifier>) -> Result<Source, InputError> {
        let (log, bench) = (Log::open(path)?, Bench::new(path, reading, classifier));
        let mut source = Source { log, bench, next: None, number: 0, at: Millis::MIN };
        source.advance()?;
        Ok(source)
    }

    fn advance(&mut self) -> Result<(), InputError> {
        self.next = self.log.next(|line| self.bench.event(line))?;
        self.number += 1;
        if let Some(time) = self.next.as_ref().and_then(|event| event.parsed().time().map(|time| time.at)) {
            self.at = time;
        }
        Ok(())
    }
}

/// An observer that is shown logs, and what it tells.
struct Watch {
    redaction: Redaction,
    enrichment: Enrichment,
    observer: Observer,
    incidents: BTreeMap<EventId, Incident>,
    /// The lines that belong to an incident: index of the file, number.
    lines: BTreeMap<EventId, Vec<(usize, u64)>>,
    /// The latest time that a line told.
    latest: Millis,
}

impl Watch {
    fn new(trusted_proxies: Networks) -> Watch {
        let host = host::id(None).unwrap_or_else(|| "unknown".to_owned());
        let now = Instant::now();
        Watch {
            observer: Observer::new(&host, Limits::default(), now),
            // The masks are compared with each other alone, and nobody sees them.
            redaction: Redaction::new(&RedactSettings::default(), [0; KEY_BYTES]),
            enrichment: Enrichment::open(&EnrichSettings { trusted_proxies, ..EnrichSettings::default() }, now),
            incidents: BTreeMap::new(),
            lines: BTreeMap::new(),
            latest: Millis::MIN,
        }
    }

    fn see(&mut self, event: &Event, line: (usize, u64)) {
        let parsed = event.parsed();
        let client = self.enrichment.client(&parsed);
        let (text, _) = self.redaction.apply(&event.line, &parsed);
        let shown = match &text {
            Cow::Borrowed(_) => parsed.clone(),
            Cow::Owned(text) => event.origin.parse(text),
        };
        self.latest = self.latest.max(parsed.time().map_or(Millis::MIN, |time| time.at));
        let written = parsed.time().map_or(&b""[..], |time| time.written);
        let place = Place { life: event.origin.life, offset: event.offset, length: event.length, written };
        let told = self.observer.see(place, &shown, client, event.attack.as_ref(), event.time);
        self.observer.framed(place.life, event.offset + event.length + 1);
        if let Some(incident) = told.incident {
            self.lines.entry(incident).or_default().push(line);
        }
        self.take(told.incidents);
    }

    fn take(&mut self, incidents: Vec<Incident>) {
        self.incidents.extend(incidents.into_iter().map(|incident| (incident.id, incident)));
    }

    fn print(mut self, paths: &[PathBuf], shape: Shape, out: &mut impl Write) -> anyhow::Result<()> {
        let rest = self.observer.finish(self.latest);
        self.take(rest);
        let mut incidents: Vec<&Incident> = self.incidents.values().collect();
        incidents.sort_by_key(|incident| (incident.first_seen, incident.id));
        let networks: BTreeSet<_> = incidents.iter().filter_map(|incident| network(&incident.actor).ok()).collect();
        let (inside, networks): (BTreeSet<_>, BTreeSet<_>) =
            networks.into_iter().partition(|network| is_inside(network.addr()));
        if shape != Shape::Json {
            inside.iter().for_each(|network| eprintln!("{}", left_out(network)));
        }
        match shape {
            Shape::Json => {
                for incident in incidents {
                    let lines = self.lines.get(&incident.id).map(Vec::as_slice).unwrap_or_default();
                    writeln!(out, "{}", as_json(incident, numbers(paths, lines))?)?;
                }
            }
            Shape::Networks => networks.iter().try_for_each(|network| writeln!(out, "{network}"))?,
            Shape::IpSet(version) => writeln!(out, "{:#}", ip_set("twosec-actors", version, &networks))?,
        }
        Ok(())
    }
}

/// Why a network is not among those that are to be kept out.
fn left_out(network: &IpNet) -> String {
    format!("left out `{network}`: a proxy inside your network sent it; name it with --trusted-proxy")
}

/// The numbers of lines; of several files an object with those of each.
fn numbers(paths: &[PathBuf], lines: &[(usize, u64)]) -> Value {
    let of = |file: usize| lines.iter().filter(|line| line.0 == file).map(|line| line.1).collect::<Vec<_>>();
    match paths {
        [_] => json!(of(0)),
        _ => (0..paths.len())
            .map(|file| (paths[file].to_string_lossy(), of(file)))
            .filter(|of| !of.1.is_empty())
            .collect(),
    }
}

/// An incident with its times as people write them, and the lines that belong to it.
fn as_json(incident: &Incident, lines: Value) -> serde_json::Result<Value> {
    let mut value = serde_json::to_value(incident)?;
    value["source"] = value["actor"].take();
    value["from"] = json!(rfc3339(incident.first_seen));
    value["to"] = json!(rfc3339(incident.last_seen));
    value["phases"] = incident.phases.iter().map(|(phase, at)| json!({"phase": phase, "from": rfc3339(*at)})).collect();
    value["targets"] = incident.targets.iter().map(|(path, count)| json!({"path": path, "count": count})).collect();
    value["lines"] = lines;
    let fields = value.as_object_mut().expect("an incident is an object");
    ["actor", "first_seen", "last_seen"].iter().for_each(|key| _ = fields.remove(*key));
    Ok(value)
}
