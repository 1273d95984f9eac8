//! Monitors that tell somebody: of an attack that likely worked, and of lines that do not come.

use super::parts::{Part, Wanted};
use serde_json::{Value, json};

/// How often a monitor looks.
const EVERY_MINUTES: u32 = 5;

/// How far back it looks for what worked. A message tells of all of this time, and comes again
/// after [`QUIET_MINUTES`]: so what is indexed up to half an hour late is told of, too.
const SPAN: &str = "now-1h";
const QUIET_MINUTES: u32 = 30;

/// Incidents that a message names.
const NAMED: u32 = 10;

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// A channel that is there, by its id.
    Known(String),
    Slack(String),
    Webhook(String),
    /// A topic of SNS, and the role with which the domain may publish there.
    Sns {
        topic: String,
        role: Option<String>,
    },
}

/// The channel, unless it is there, and what is told there.
pub fn parts(wanted: &Wanted, channel: &Channel) -> Vec<Part> {
    let prefix = &wanted.prefix;
    let (config, id) = match channel {
        Channel::Known(id) => (None, id.clone()),
        Channel::Slack(url) => (Some(json!({"config_type": "slack", "slack": {"url": url}})), own(prefix)),
        Channel::Webhook(url) => {
            let webhook = json!({"url": url, "method": "POST", "header_params": {"Content-Type": "text/plain"}});
            (Some(json!({"config_type": "webhook", "webhook": webhook})), own(prefix))
        }
        Channel::Sns { topic, role } => {
            let mut sns = json!({"topic_arn": topic});
            role.iter().for_each(|role| sns["role_arn"] = json!(role));
            (Some(json!({"config_type": "sns", "sns": sns})), own(prefix))
        }
    };
    let made = config.map(|config| Part::channel(&id, with_name(config, &id)));
    made.into_iter().chain([worked(prefix, &id), silence(prefix, &id)]).collect()
}

fn own(prefix: &str) -> String {
    format!("{prefix}-alerts")
}

fn with_name(mut config: Value, id: &str) -> Value {
    config["name"] = json!(id);
    config["description"] = json!("2SeC tells here what its monitors find");
    config["is_enabled"] = json!(true);
    config
}

fn worked(prefix: &str, channel: &str) -> Part {
    let query = format!("attack.outcome:likely_succeeded AND @timestamp:[{SPAN} TO now]");
    let each = "{{#ctx.results.0.hits.hits}}- {{_source.host.name}}: {{_source.message}}\n{{/ctx.results.0.hits.hits}}";
    monitor(Monitor {
        name: &format!("[{prefix}] An attack likely worked"),
        channel,
        severity: "1",
        indices: &format!("{prefix}-incidents*"),
        search: json!({"size": NAMED, "query": {"query_string": {"query": query}}}),
        condition: "ctx.results[0].hits.total.value > 0",
        message: &format!("Incidents of the last hour that likely succeeded:\n{each}"),
    })
}

fn silence(prefix: &str, channel: &str) -> Part {
    let query = format!("@timestamp:[{SPAN} TO now] AND NOT event.dataset:\"twosec.incidents\"");
    monitor(Monitor {
        name: &format!("[{prefix}] No lines come"),
        channel,
        severity: "2",
        indices: &format!("{prefix}-*"),
        search: json!({"size": 0, "query": {"query_string": {"query": query}}}),
        condition: "ctx.results[0].hits.total.value == 0",
        message: "No line of the last hour is in the index: look at the dashboard Pipeline health, \
            at `twosec-agent status` and at `twosec-processor shards`.",
    })
}

struct Monitor<'m> {
    name: &'m str,
    channel: &'m str,
    severity: &'m str,
    indices: &'m str,
    /// Of a query string alone: the plugin gives other queries back in other words.
    search: Value,
    condition: &'m str,
    message: &'m str,
}

/// In the words in which the plugin gives it back. Whether it is enabled is the user's.
fn monitor(monitor: Monitor<'_>) -> Part {
    let action = json!({
        "id": "tell",
        "name": "tell",
        "destination_id": monitor.channel,
        "subject_template": {"source": monitor.name, "lang": "mustache"},
        "message_template": {"source": monitor.message, "lang": "mustache"},
        "throttle_enabled": true,
        "throttle": {"value": QUIET_MINUTES, "unit": "MINUTES"},
    });
    let trigger = json!({
        "id": "found",
        "name": monitor.name,
        "severity": monitor.severity,
        "condition": {"script": {"source": monitor.condition, "lang": "painless"}},
        "actions": [action],
    });
    let body = json!({
        "type": "monitor",
        "monitor_type": "query_level_monitor",
        "name": monitor.name,
        "schedule": {"period": {"interval": EVERY_MINUTES, "unit": "MINUTES"}},
        "inputs": [{"search": {"indices": [monitor.indices], "query": monitor.search}}],
        "triggers": [{"query_level_trigger": trigger}],
    });
    Part::monitor(monitor.name, body)
}
