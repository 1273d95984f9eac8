//! A page of metrics in Prometheus's text format 0.0.4.

use std::fmt::{Display, Write};

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A page on its way. All names on it begin with the same prefix.
#[derive(Debug)]
pub struct Page {
    prefix: &'static str,
    text: String,
}

impl Page {
    /// An empty page of metrics that are called `<prefix>_...`.
    pub fn new(prefix: &'static str) -> Page {
        Page { prefix, text: String::new() }
    }

    /// The page.
    pub fn into_text(self) -> String {
        self.text
    }

    /// A counter of one series.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, Kind::Counter, help);
        self.sample(name, &[], value);
    }

    /// A gauge of one series.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, Kind::Gauge, help);
        self.sample(name, &[], value);
    }

    /// What the samples that follow are.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let (prefix, kind) = (self.prefix, kind_name(kind));
        let _ = writeln!(self.text, "# HELP {prefix}_{name} {help}\n# TYPE {prefix}_{name} {kind}");
    }

    /// A series.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.text, "{}_{name}", self.prefix);
        let mut before = '{';
        for (label, value) in labels {
            let _ = write!(self.text, "{before}{label}=\"{}\"", escaped(value));
            before = ',';
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{close} {value}");
    }

    /// A histogram of one series: `counts` of what was at most each of `bounds`, and at last of
    /// what was more than all of them; each is counted once.
    pub fn histogram(&mut self, name: &str, help: &str, bounds: &[f64], counts: &[u64], sum: f64) {
        self.family(name, Kind::Histogram, help);
        let mut so_far = 0;
        let bounds = bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(counts) {
            so_far += count;
            self.sample(&format!("{name}_bucket"), &[("le", &bound)], so_far);
        }
        self.sample(&format!("{name}_sum"), &[], sum);
        self.sample(&format!("{name}_count"), &[], so_far);
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_prometheus_reads() {
        let mut page = Page::new("p");
        page.counter("lines_total", "Lines read.", 7);
        page.family("lag_seconds", Kind::Gauge, "How late.");
        page.sample("lag_seconds", &[("path", "/a\"\n\\"), ("of", "x")], 0.5);
        page.histogram("took_seconds", "How long.", &[0.1, 1.0], &[3, 0, 2], 12.5);
        let expected = r#"# HELP p_lines_total Lines read.
# TYPE p_lines_total counter
p_lines_total 7
# HELP p_lag_seconds How late.
# TYPE p_lag_seconds gauge
p_lag_seconds{path="/a\"\n\\",of="x"} 0.5
# HELP p_took_seconds How long.
# TYPE p_took_seconds histogram
p_took_seconds_bucket{le="0.1"} 3
p_took_seconds_bucket{le="1"} 3
p_took_seconds_bucket{le="+Inf"} 5
p_took_seconds_sum 12.5
p_took_seconds_count 5
"#;
        assert_eq!(page.into_text(), expected);
    }
}
