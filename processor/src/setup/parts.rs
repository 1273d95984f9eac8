//! What a domain should have.

use super::Method;
use super::alerts::{self, Channel};
use event::document::IndexPeriod;
use serde_json::{Value, json};

/// Retries of a policy's action, with pauses that double from an hour on.
const RETRIES: u32 = 5;

/// Days after which hardly any line of an index's last day still comes, so that it may be packed.
const PACK_AFTER: u32 = 3;

const CHANNELS: &str = "/_plugins/_notifications/configs";
const MONITORS: &str = "/_plugins/_alerting/monitors";

/// What is wanted of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What the names of indices begin with.
    pub prefix: String,
    pub period: IndexPeriod,
    /// Days after which a line's index may be deleted; without them none ever is.
    pub retention_days: Option<u32>,
    /// Roles of IAM that may index. Without any, no role for that is touched.
    pub writers: Vec<String>,
    /// Those that may look, as the writers are named.
    pub readers: Vec<String>,
    /// Who is told of what worked, and of silence. Without it there is no monitor.
    pub alerts: Option<Channel>,
}

/// One thing that a domain should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Such as `index template twosec`.
    pub what: String,
    /// Where it is asked for and put; of monitors, where all of them are.
    pub path: String,
    pub body: Value,
    kind: Kind,
    /// Where in the answer it stands, as a JSON pointer.
    found_at: String,
    /// The domain adds defaults to what it was given.
    pub may_hold_more: bool,
    /// It belongs to the user as soon as it is there.
    pub is_users: bool,
    /// Fields that users set beside ours: objects and names in them. They stay as they are.
    kept: &'static [(&'static str, &'static str)],
}

/// How a part is found and made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// By the name in its path.
    Named,
    /// By its id, which a new one brings along.
    Channel,
    /// By its name: the plugin gives ids of its own.
    Monitor,
}

/// A call with a body.
pub type Call = (Method, String, Value);

impl Part {
    fn new(what: String, path: String, body: Value, found_at: String) -> Part {
        Part { what, path, body, kind: Kind::Named, found_at, may_hold_more: false, is_users: false, kept: &[] }
    }

    /// A channel for notifications.
    pub fn channel(id: &str, config: Value) -> Part {
        let body = json!({"config_id": id, "config": config});
        let (what, path) = (format!("channel {id}"), format!("{CHANNELS}/{id}"));
        Part { kind: Kind::Channel, may_hold_more: true, ..Part::new(what, path, body, "/config_list/0".to_owned()) }
    }

    /// A monitor of the alerting plugin.
    pub fn monitor(name: &str, body: Value) -> Part {
        let part = Part::new(format!("monitor {name}"), MONITORS.to_owned(), body, "/hits/hits/0/_source".to_owned());
        Part { kind: Kind::Monitor, may_hold_more: true, ..part }
    }

    /// How it is asked for.
    pub fn asking(&self) -> (Method, String, Option<Value>) {
        match self.kind {
            Kind::Named | Kind::Channel => (Method::Get, self.path.clone(), None),
            Kind::Monitor => {
                let by_name = json!({"term": {"monitor.name.keyword": self.body["name"]}});
                let search = json!({"size": 1, "seq_no_primary_term": true, "query": by_name});
                (Method::Post, format!("{MONITORS}/_search"), Some(search))
            }
        }
    }

    /// The part as the answer holds it; null where it holds none.
    pub fn there<'v>(&self, answer: &'v Value) -> &'v Value {
        answer.pointer(&self.found_at).unwrap_or(&Value::Null)
    }

    /// How it is made where there is none.
    pub fn making(&self) -> Call {
        let body = self.body.clone();
        match self.kind {
            Kind::Named => (Method::Put, self.path.clone(), body),
            Kind::Channel => (Method::Post, CHANNELS.to_owned(), body),
            Kind::Monitor => (Method::Post, MONITORS.to_owned(), body),
        }
    }

    /// How it is changed. What has a number is changed only as it was when it was read
    /// (OpenSearch, "ISM API", update policy, and "Alerting API", update monitor).
    pub fn changing(&self, answer: &Value) -> Call {
        let (found, path, body) = match self.kind {
            Kind::Named => (answer, self.path.clone(), self.changed(answer)),
            Kind::Channel => (answer, self.path.clone(), json!({"config": self.body["config"]})),
            Kind::Monitor => {
                let found = &answer["hits"]["hits"][0];
                (found, format!("{MONITORS}/{}", found["_id"].as_str().unwrap_or_default()), self.body.clone())
            }
        };
        match (&found["_seq_no"], &found["_primary_term"]) {
            (Value::Number(number), Value::Number(term)) => {
                (Method::Put, format!("{path}?if_seq_no={number}&if_primary_term={term}"), body)
            }
            _ => (Method::Put, path, body),
        }
    }

    /// What it becomes: as we want it, with what users have set beside that. A PUT replaces all there is.
    fn changed(&self, answer: &Value) -> Value {
        let (there, mut body) = (self.there(answer), self.body.clone());
        for (object, name) in self.kept {
            let theirs = there.pointer(object).and_then(|object| object.get(name));
            if let (Some(theirs), Some(Value::Object(ours))) = (theirs, body.pointer_mut(object)) {
                ours.entry(*name).or_insert_with(|| theirs.clone());
            }
        }
        body
    }

    /// What of its changes may be told: not the address of a channel, whose knowledge is enough to
    /// write there.
    pub fn telling(&self, change: String) -> String {
        match (self.kind, change.split_once(':')) {
            (Kind::Channel, Some((name, _))) => name.to_owned(),
            _ => change,
        }
    }
}

impl Wanted {
    /// All parts, in the order in which they lean on each other.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = vec![self.fields(), self.own(), self.template()];
        parts.extend(self.retention_days.map(|days| self.policy(days)));
        if !self.writers.is_empty() {
            parts.extend([self.writer(), self.mapping("writer", &self.writers)]);
        }
        if !self.readers.is_empty() {
            parts.extend([self.reader(), self.mapping("reader", &self.readers)]);
        }
        parts.extend(self.alerts.iter().flat_map(|channel| alerts::parts(self, channel)));
        parts
    }

    /// Fields and settings of all indices.
    fn fields(&self) -> Part {
        let name = format!("{}-fields", self.prefix);
        let template = event::fields::index_template(&self.prefix);
        let body = json!({"template": template["template"], "_meta": template["_meta"]});
        component(&name, body)
    }

    /// Settings of the user's own, such as more shards: they win, and are never written again.
    fn own(&self) -> Part {
        let name = format!("{}-custom", self.prefix);
        Part { is_users: true, ..component(&name, json!({"template": {}})) }
    }

    fn template(&self) -> Part {
        let prefix = &self.prefix;
        let whole = event::fields::index_template(prefix);
        let body = json!({
            "index_patterns": whole["index_patterns"],
            "priority": whole["priority"],
            "composed_of": [format!("{prefix}-fields"), format!("{prefix}-custom")],
            "_meta": whole["_meta"],
        });
        let found_at = "/index_templates/0/index_template".to_owned();
        Part::new(format!("index template {prefix}"), format!("/_index_template/{prefix}"), body, found_at)
    }

    /// Indices are packed when their day or month is over, and deleted when their last lines are
    /// old: the archive keeps the lines.
    fn policy(&self, days: u32) -> Part {
        let retry = json!({"count": RETRIES, "backoff": "exponential", "delay": "1h"});
        // An index is as old as its first line.
        let more = match self.period {
            IndexPeriod::Day => 0,
            IndexPeriod::Month => 31,
        };
        let after = |days: u32, state: &str| {
            let age = format!("{}d", days.saturating_add(more));
            json!([{"state_name": state, "conditions": {"min_index_age": age}}])
        };
        let pack = json!({"retry": retry, "force_merge": {"max_num_segments": 1}});
        let delete = json!({"retry": retry, "delete": {}});
        let body = json!({"policy": {
            "description": "Indices of 2SeC: packed after their day or month, deleted when they are old",
            "default_state": "hot",
            "states": [
                {"name": "hot", "actions": [], "transitions": after(PACK_AFTER, "packed")},
                {"name": "packed", "actions": [pack], "transitions": after(days, "deleted")},
                {"name": "deleted", "actions": [delete], "transitions": []},
            ],
            // By the year, so that incidents, which have one index for all days, stay.
            "ism_template": [{"index_patterns": [format!("{}-2*", self.prefix)], "priority": 100}],
        }});
        let name = format!("{}-retention", self.prefix);
        let part =
            Part::new(format!("ISM policy {name}"), format!("/_plugins/_ism/policies/{name}"), body, String::new());
        Part { may_hold_more: true, kept: &[("/policy", "error_notification")], ..part }
    }

    /// What `_bulk` with `create` and `index` needs, and no more: no search, no deletion.
    fn writer(&self) -> Part {
        let name = format!("{}-writer", self.prefix);
        let actions =
            ["create_index", "indices:admin/mapping/put", "indices:data/write/bulk*", "indices:data/write/index"];
        let body = json!({
            "description": "twosec-processor: indexes, and makes the indices of new days",
            "cluster_permissions": ["indices:data/write/bulk"],
            "index_permissions": [{"index_patterns": [format!("{}-*", self.prefix)], "allowed_actions": actions}],
        });
        security("role", "roles", &name, body)
    }

    /// What searches, and dashboards that all share, need (OpenSearch, "Default action groups" and
    /// "Create role"): no change of anything.
    fn reader(&self) -> Part {
        let name = format!("{}-reader", self.prefix);
        let body = json!({
            "description": "2SeC: searches events and incidents, and looks at the dashboards of the global tenant",
            "cluster_permissions": ["cluster_composite_ops_ro"],
            "index_permissions": [{"index_patterns": [format!("{}-*", self.prefix)], "allowed_actions": ["read"]}],
            "tenant_permissions": [{"tenant_patterns": ["global_tenant"], "allowed_actions": ["kibana_all_read"]}],
        });
        security("role", "roles", &name, body)
    }

    fn mapping(&self, role: &str, who: &[String]) -> Part {
        let name = format!("{}-{role}", self.prefix);
        let part = security("role mapping", "rolesmapping", &name, json!({"backend_roles": who}));
        Part { kept: &[("", "users"), ("", "hosts"), ("", "and_backend_roles"), ("", "description")], ..part }
    }
}

fn component(name: &str, body: Value) -> Part {
    let found_at = "/component_templates/0/component_template".to_owned();
    Part::new(format!("component template {name}"), format!("/_component_template/{name}"), body, found_at)
}

fn security(what: &str, kind: &str, name: &str, body: Value) -> Part {
    let path = format!("/_plugins/_security/api/{kind}/{name}");
    Part { may_hold_more: true, ..Part::new(format!("{what} {name}"), path, body, format!("/{name}")) }
}
