//! Where the agent's own messages go: to the journal with their fields under systemd,
//! to standard error elsewhere.

use std::fmt::Write;
use std::io::{self, IsTerminal};
use systemd_journal_logger::{JournalLog, connected_to_journal};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Starts logging. `TWOSEC_LOG` sets what is told, such as `debug` or `agent=debug,warn`.
pub fn init() {
    let filter = EnvFilter::try_from_env("TWOSEC_LOG").unwrap_or_else(|_| EnvFilter::new("info,aws_config=warn"));
    let registry = tracing_subscriber::registry().with(filter);
    let journal = connected_to_journal().then(JournalLog::new).and_then(Result::ok);
    match journal {
        Some(journal) => registry.with(Journal(journal.with_syslog_identifier("twosec-agent".to_owned()))).init(),
        None => {
            let terminal = io::stderr().is_terminal();
            registry.with(tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(terminal)).init();
        }
    }
}

/// Sends events to journald, each field as a journal field of its own
/// (systemd.journal-fields(7)).
struct Journal(JournalLog);

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry::default();
        event.record(&mut entry);
        let meta = event.metadata();
        let level = match *meta.level() {
            Level::ERROR => log::Level::Error,
            Level::WARN => log::Level::Warn,
            Level::INFO => log::Level::Info,
            Level::DEBUG => log::Level::Debug,
            Level::TRACE => log::Level::Trace,
        };
        let mut record = log::Record::builder();
        record.level(level).target(meta.target()).key_values(&entry.fields);
        // There is nowhere else to say that the journal does not listen.
        let _ = self.0.journal_send(&record.args(format_args!("{}", entry.message)).build());
    }
}

/// A message and its fields.
#[derive(Default)]
struct Entry {
    message: String,
    fields: Vec<(String, String)>,
}

impl Entry {
    /// Fields of ours begin with `TWOSEC_`, so that none is taken for one of journald's.
    fn own(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
            return;
        }
        let _ = write!(self.message, " {}={value}", field.name());
        let name = field.name().to_ascii_uppercase().replace('.', "_");
        self.fields.push((format!("TWOSEC_{name}"), value.to_owned()));
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.own(field, value);
    }

    fn record_error(&mut self, field: &Field, error: &(dyn std::error::Error + 'static)) {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        self.own(field, &text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.own(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    type Messages = Arc<Mutex<Vec<(String, Vec<(String, String)>)>>>;

    /// Keeps what the journal would be sent.
    struct Kept(Messages);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut entry = Entry::default();
            event.record(&mut entry);
            self.0.lock().unwrap().push((entry.message, entry.fields));
        }
    }

    #[test]
    fn a_messages_fields_are_journal_fields_and_its_text() {
        let kept = Messages::default();
        let subscriber = tracing_subscriber::registry().with(Kept(kept.clone()));
        tracing::subscriber::with_default(subscriber, || tracing::warn!(path = "/x", bytes = 3, "cannot read on"));
        let (message, fields) = kept.lock().unwrap().pop().unwrap();
        assert_eq!(message, "cannot read on path=/x bytes=3");
        let expected = [("TWOSEC_PATH", "/x"), ("TWOSEC_BYTES", "3")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(fields, expected);
    }
}
