//! What a domain should have.

use serde_json::{Value, json};

/// Retries of a policy's action, with pauses that double from an hour on.
const RETRIES: u32 = 5;

/// Age at which hardly any line of a day still comes, so that its index may be packed.
const PACK_AFTER: &str = "3d";

/// What is wanted of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What the names of indices begin with.
    pub prefix: String,
    /// Days after which an index is deleted; without them none ever is.
    pub retention_days: Option<u32>,
    /// Roles of IAM that may index. Without any, nothing of the security plugin is touched.
    pub writers: Vec<String>,
}

/// One thing that a domain should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Such as `index template twosec`.
    pub what: String,
    /// Where it is asked for and put.
    pub path: String,
    pub body: Value,
    /// Where in the answer it stands, as a JSON pointer.
    found_at: String,
    /// The domain adds defaults to what it was given.
    pub may_hold_more: bool,
    /// It belongs to the user as soon as it is there.
    pub is_users: bool,
}

impl Part {
    fn new(what: String, path: String, body: Value, found_at: String) -> Part {
        Part { what, path, body, found_at, may_hold_more: false, is_users: false }
    }

    /// The part as the answer to a GET holds it.
    pub fn there<'v>(&self, answer: &'v Value) -> &'v Value {
        answer.pointer(&self.found_at).unwrap_or(&Value::Null)
    }

    /// Where a change is put: a policy is changed only as it was when it was read (OpenSearch,
    /// "ISM API", update policy).
    pub fn path_to_change(&self, answer: &Value) -> String {
        match (&answer["_seq_no"], &answer["_primary_term"]) {
            (Value::Number(number), Value::Number(term)) => {
                format!("{}?if_seq_no={number}&if_primary_term={term}", self.path)
            }
            _ => self.path.clone(),
        }
    }
}

impl Wanted {
    /// All parts, in the order in which they lean on each other.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = vec![self.fields(), self.own(), self.template()];
        parts.extend(self.retention_days.map(|days| self.policy(days)));
        if !self.writers.is_empty() {
            parts.extend([self.role(), self.mapping()]);
        }
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

    /// Daily indices are packed when their day is over, and deleted when they are old: the
    /// archive keeps the lines.
    fn policy(&self, days: u32) -> Part {
        let retry = json!({"count": RETRIES, "backoff": "exponential", "delay": "1h"});
        let after = |age: &str, state: &str| json!([{"state_name": state, "conditions": {"min_index_age": age}}]);
        let pack = json!({"retry": retry, "force_merge": {"max_num_segments": 1}});
        let delete = json!({"retry": retry, "delete": {}});
        let old = format!("{days}d");
        let body = json!({"policy": {
            "description": "Daily indices of 2SeC: packed after their day, deleted when they are old",
            "default_state": "hot",
            "states": [
                {"name": "hot", "actions": [], "transitions": after(PACK_AFTER, "packed")},
                {"name": "packed", "actions": [pack], "transitions": after(&old, "deleted")},
                {"name": "deleted", "actions": [delete], "transitions": []},
            ],
            // By the year, so that incidents, which have one index for all days, stay.
            "ism_template": [{"index_patterns": [format!("{}-2*", self.prefix)], "priority": 100}],
        }});
        let name = format!("{}-retention", self.prefix);
        let part =
            Part::new(format!("ISM policy {name}"), format!("/_plugins/_ism/policies/{name}"), body, String::new());
        Part { may_hold_more: true, ..part }
    }

    /// What `_bulk` with `create` and `index` needs, and no more: no search, no deletion.
    fn role(&self) -> Part {
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

    fn mapping(&self) -> Part {
        let name = format!("{}-writer", self.prefix);
        security("role mapping", "rolesmapping", &name, json!({"backend_roles": self.writers}))
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
