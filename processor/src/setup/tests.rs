use super::*;
use event::document::IndexPeriod;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// A domain that keeps what it is given, and answers as OpenSearch does.
struct Fake {
    version: &'static str,
    distribution: &'static str,
    plugins: bool,
    kept: Mutex<BTreeMap<String, Value>>,
    puts: Mutex<Vec<String>>,
}

impl Fake {
    fn new() -> Fake {
        Fake {
            version: "2.19.1",
            distribution: "opensearch",
            plugins: true,
            kept: Mutex::default(),
            puts: Mutex::default(),
        }
    }

    fn puts(&self) -> Vec<String> {
        std::mem::take(&mut self.puts.lock().unwrap())
    }

    fn answer(path: &str, body: &Value) -> Value {
        let name = path.rsplit('/').next().unwrap();
        match path.split('/').nth(1).unwrap() {
            "_component_template" => {
                json!({"component_templates": [{"name": name, "component_template": as_given_back(body)}]})
            }
            "_index_template" => json!({"index_templates": [{"name": name, "index_template": body}]}),
            _ if path.contains("_notifications") => {
                json!({"config_list": [{"config_id": name, "last_updated_time_ms": 1, "config": body["config"]}]})
            }
            _ if path.contains("_ism") => {
                let mut policy = body["policy"].clone();
                policy["last_updated_time"] = json!(1);
                json!({"_id": name, "_version": 1, "_seq_no": 7, "_primary_term": 2, "policy": policy})
            }
            _ => {
                let mut kept = body.clone();
                kept["reserved"] = json!(false);
                json!({ name: kept })
            }
        }
    }
}

impl Fake {
    /// A monitor by its name, with what the plugin fills in. Without any monitor there is no index
    /// of them.
    fn search(kept: &BTreeMap<String, Value>, name: &Value) -> Answer {
        let mut monitors = kept.iter().filter(|(path, _)| path.contains("_alerting")).peekable();
        if monitors.peek().is_none() {
            return (404, json!({"error": {"reason": "Configured indices are not found"}}));
        }
        let hit = monitors.find(|(_, body)| body["name"] == *name).map(|(path, body)| {
            let mut source = body.clone();
            source["enabled"] = json!(true);
            source["inputs"][0]["search"]["query"]["query"]["query_string"]["boost"] = json!(1.0);
            json!({"_id": path.rsplit('/').next(), "_seq_no": 3, "_primary_term": 1, "_source": source})
        });
        (200, json!({"hits": {"hits": hit.into_iter().collect::<Vec<_>>()}}))
    }
}

/// Settings come back as strings.
fn as_given_back(body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(index) = body.pointer_mut("/template/settings/index").and_then(Value::as_object_mut) {
        index["number_of_shards"] = json!("1");
    }
    body
}

#[async_trait]
impl Domain for Fake {
    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, IndexError> {
        if path == "/" {
            return Ok((200, json!({"version": {"number": self.version, "distribution": self.distribution}})));
        }
        if path.starts_with("/_plugins") && !self.plugins {
            return Ok((400, json!({"error": format!("no handler found for uri [{path}] and method [{method:?}]")})));
        }
        let mut kept = self.kept.lock().unwrap();
        if method == Method::Post && path.ends_with("/_search") {
            return Ok(Fake::search(&kept, &body.unwrap()["query"]["term"]["monitor.name.keyword"]));
        }
        if method == Method::Post {
            self.puts.lock().unwrap().push(path.to_owned());
            let body = body.unwrap().clone();
            let new = body["config_id"].as_str().map_or_else(|| format!("id{}", kept.len()), str::to_owned);
            kept.insert(format!("{path}/{new}"), body);
            return Ok((201, json!({})));
        }
        if method == Method::Put {
            self.puts.lock().unwrap().push(path.to_owned());
            kept.insert(path.split('?').next().unwrap().to_owned(), body.unwrap().clone());
            return Ok((200, json!({"acknowledged": true})));
        }
        Ok(kept.get(path).map_or((404, Value::Null), |body| (200, Fake::answer(path, body))))
    }
}

fn wanted() -> Wanted {
    Wanted {
        prefix: "twosec".into(),
        period: IndexPeriod::Day,
        retention_days: Some(90),
        writers: vec!["arn:aws:iam::123456789012:role/processor".into()],
        readers: Vec::new(),
        alerts: None,
    }
}

fn actions(report: &Report) -> Vec<Action> {
    report.parts.iter().map(|part| part.action).collect()
}

#[tokio::test]
async fn a_second_set_up_changes_nothing() {
    let domain = Fake::new();
    let first = set_up(&domain, &wanted(), false).await.unwrap();
    assert_eq!(actions(&first), [Action::Made; 6]);
    assert_eq!(domain.puts().len(), 6);
    let second = set_up(&domain, &wanted(), false).await.unwrap();
    assert_eq!(actions(&second), [Action::Same; 6], "{second}");
    assert!(domain.puts().is_empty());
}

#[tokio::test]
async fn a_dry_run_tells_what_would_change_and_writes_nothing() {
    let domain = Fake::new();
    set_up(&domain, &wanted(), false).await.unwrap();
    domain.puts();
    let other = Wanted { retention_days: Some(30), ..wanted() };
    let told = set_up(&domain, &other, true).await.unwrap();
    let policy = &told.parts[3];
    assert_eq!(policy.action, Action::Changed);
    assert_eq!(policy.changes, ["policy.states.1.transitions.0.conditions.min_index_age: 90d -> 30d"]);
    assert!(domain.puts().is_empty());
    assert!(told.to_string().contains("would change  ISM policy twosec-retention\n"), "{told}");
}

#[test]
fn an_index_of_a_month_is_deleted_when_its_last_day_is_old() {
    let ages = |period| {
        let policy = Wanted { period, ..wanted() }.parts().remove(3).body;
        let age =
            |state: usize| policy["policy"]["states"][state]["transitions"][0]["conditions"]["min_index_age"].clone();
        [age(0), age(1)]
    };
    assert_eq!(ages(IndexPeriod::Day), ["3d", "90d"]);
    assert_eq!(ages(IndexPeriod::Month), ["34d", "121d"]);
}

#[tokio::test]
async fn a_policy_is_changed_only_as_it_was_read() {
    let domain = Fake::new();
    set_up(&domain, &wanted(), false).await.unwrap();
    domain.puts();
    set_up(&domain, &Wanted { retention_days: Some(30), ..wanted() }, false).await.unwrap();
    assert_eq!(domain.puts(), ["/_plugins/_ism/policies/twosec-retention?if_seq_no=7&if_primary_term=2"]);
}

#[tokio::test]
async fn settings_of_the_users_own_are_left_alone() {
    let domain = Fake::new();
    set_up(&domain, &wanted(), false).await.unwrap();
    let own = json!({"template": {"settings": {"index": {"number_of_shards": "3"}}}});
    domain.kept.lock().unwrap().insert("/_component_template/twosec-custom".into(), own.clone());
    domain.puts();
    set_up(&domain, &wanted(), false).await.unwrap();
    assert!(domain.puts().is_empty());
    assert_eq!(domain.kept.lock().unwrap()["/_component_template/twosec-custom"], own);
}

#[tokio::test]
async fn what_a_missing_plugin_would_hold_is_named_and_the_rest_is_done() {
    let domain = Fake { plugins: false, ..Fake::new() };
    let report = set_up(&domain, &wanted(), false).await.unwrap();
    let missing: Vec<_> =
        report.parts.iter().filter(|part| part.action == Action::Missing).map(|part| &*part.what).collect();
    assert_eq!(missing, ["ISM policy twosec-retention", "role twosec-writer", "role mapping twosec-writer"]);
    assert_eq!(domain.puts().len(), 3);
    assert!(report.lacks_plugins());
}

#[tokio::test]
async fn what_is_no_opensearch_or_too_old_is_refused_before_anything_is_written() {
    for (distribution, version, told) in [
        ("opensearch", "2.11.0", "this is OpenSearch 2.11.0; OpenSearch 2.12 or later is needed"),
        ("opensearch", "1.3.20", "this is OpenSearch 1.3.20; OpenSearch 2.12 or later is needed"),
        ("", "8.17.0", "this is Elasticsearch 8.17.0; OpenSearch 2.12 or later is needed"),
    ] {
        let domain = Fake { distribution, version, ..Fake::new() };
        let error = set_up(&domain, &wanted(), false).await.unwrap_err();
        assert_eq!(error.to_string(), told);
        assert!(domain.puts().is_empty());
    }
}

#[tokio::test]
async fn without_roles_and_days_only_templates_are_put() {
    let domain = Fake::new();
    set_up(&domain, &Wanted { retention_days: None, writers: Vec::new(), ..wanted() }, false).await.unwrap();
    let expected =
        ["/_component_template/twosec-fields", "/_component_template/twosec-custom", "/_index_template/twosec"];
    assert_eq!(domain.puts(), expected);
}

#[tokio::test]
async fn who_looks_may_search_and_change_nothing() {
    let domain = Fake::new();
    let analysts = "arn:aws:iam::123456789012:role/analysts".to_owned();
    let wanted = Wanted { retention_days: None, writers: Vec::new(), readers: vec![analysts.clone()], ..wanted() };
    set_up(&domain, &wanted, false).await.unwrap();
    let kept = domain.kept.lock().unwrap().clone();
    let role = &kept["/_plugins/_security/api/roles/twosec-reader"];
    let allowed = |at: &str| role.pointer(at).cloned().unwrap();
    assert_eq!(allowed("/cluster_permissions"), json!(["cluster_composite_ops_ro"]));
    let indices = json!([{"index_patterns": ["twosec-*"], "allowed_actions": ["read"]}]);
    assert_eq!(allowed("/index_permissions"), indices);
    assert_eq!(allowed("/tenant_permissions/0/allowed_actions"), json!(["kibana_all_read"]));
    let mapping = &kept["/_plugins/_security/api/rolesmapping/twosec-reader"];
    assert_eq!(mapping["backend_roles"], json!([analysts]));
    assert!(!kept.keys().any(|path| path.contains("writer")));
}

#[tokio::test]
async fn users_that_somebody_mapped_and_whom_a_failed_policy_tells_stay_when_our_part_is_changed() {
    let domain = Fake::new();
    set_up(&domain, &wanted(), false).await.unwrap();
    let mapping = "/_plugins/_security/api/rolesmapping/twosec-writer";
    let policy = "/_plugins/_ism/policies/twosec-retention";
    let kept = |path: &str, at: &str| domain.kept.lock().unwrap()[path].pointer(at).cloned();
    {
        let mut kept = domain.kept.lock().unwrap();
        kept.get_mut(mapping).unwrap()["users"] = json!(["alice"]);
        kept.get_mut(policy).unwrap()["policy"]["error_notification"] = json!({"channel": {"id": "x"}});
    }
    let other =
        Wanted { writers: vec!["arn:aws:iam::123456789012:role/other".into()], retention_days: Some(9), ..wanted() };
    set_up(&domain, &other, false).await.unwrap();
    assert_eq!(kept(mapping, "/backend_roles"), Some(json!(other.writers)));
    assert_eq!(kept(mapping, "/users"), Some(json!(["alice"])));
    assert_eq!(kept(policy, "/policy/error_notification/channel/id"), Some(json!("x")));
}

#[tokio::test]
async fn the_index_of_incidents_is_never_deleted_for_its_age() {
    let domain = Fake::new();
    set_up(&domain, &wanted(), false).await.unwrap();
    let policy = domain.kept.lock().unwrap()["/_plugins/_ism/policies/twosec-retention"].clone();
    let pattern = policy["policy"]["ism_template"][0]["index_patterns"][0].as_str().unwrap().trim_end_matches('*');
    assert!("twosec-2026.11.28".starts_with(pattern));
    assert!(!"twosec-incidents".starts_with(pattern) && !"twosec-undated".starts_with(pattern));
}

/// What is wanted when somebody is to be told.
fn told_at(url: &str) -> Wanted {
    Wanted { retention_days: None, writers: Vec::new(), alerts: Some(Channel::Webhook(url.into())), ..wanted() }
}

#[tokio::test]
async fn monitors_are_made_once_and_tell_the_channel() {
    let domain = Fake::new();
    let first = set_up(&domain, &told_at("https://tell.example/a"), false).await.unwrap();
    let made: Vec<_> = first.parts[3..].iter().map(|part| &*part.what).collect();
    let expected =
        ["channel twosec-alerts", "monitor [twosec] An attack likely worked", "monitor [twosec] No lines come"];
    assert_eq!(made, expected);
    let monitors = "/_plugins/_alerting/monitors";
    assert_eq!(domain.puts()[3..], ["/_plugins/_notifications/configs", monitors, monitors]);
    let second = set_up(&domain, &told_at("https://tell.example/a"), false).await.unwrap();
    assert_eq!(actions(&second), [Action::Same; 6], "{second}");
    assert!(domain.puts().is_empty());
}

#[tokio::test]
async fn the_address_of_a_channel_is_changed_and_not_told() {
    let domain = Fake::new();
    set_up(&domain, &told_at("https://tell.example/a"), false).await.unwrap();
    domain.puts();
    let report = set_up(&domain, &told_at("https://tell.example/secret"), false).await.unwrap();
    assert_eq!(report.parts[3].changes, ["config.webhook.url"]);
    assert_eq!(domain.puts(), ["/_plugins/_notifications/configs/twosec-alerts"]);
}

#[tokio::test]
async fn a_monitor_is_changed_where_it_is_as_it_was_read() {
    let domain = Fake::new();
    set_up(&domain, &told_at("https://tell.example/a"), false).await.unwrap();
    domain.puts();
    let other = Wanted { alerts: Some(Channel::Known("on-call".into())), ..told_at("") };
    let report = set_up(&domain, &other, false).await.unwrap();
    let change = "triggers.0.query_level_trigger.actions.0.destination_id: twosec-alerts -> on-call";
    assert_eq!(report.parts[3].changes, [change]);
    let puts = domain.puts();
    assert_eq!(puts.len(), 2, "both monitors, and no channel of ours");
    assert!(puts[0].starts_with("/_plugins/_alerting/monitors/id"), "{puts:?}");
    assert!(puts[0].ends_with("?if_seq_no=3&if_primary_term=1"), "{puts:?}");
}

#[tokio::test]
async fn a_domain_without_the_plugins_has_nobody_told() {
    let domain = Fake { plugins: false, ..Fake::new() };
    let report = set_up(&domain, &told_at("https://tell.example/a"), false).await.unwrap();
    assert_eq!(actions(&report)[3..], [Action::Missing; 3]);
    assert!(report.lacks_plugins());
}

#[test]
fn every_field_that_a_monitor_asks_for_exists() {
    for part in told_at("https://tell.example/a").parts().iter().filter(|part| part.what.starts_with("monitor")) {
        let query = part.body["inputs"][0]["search"]["query"]["query"]["query_string"]["query"].as_str().unwrap();
        let names = query.split([' ', '[']).filter_map(|word| word.split_once(':'));
        for (name, _) in names {
            assert!(event::fields::named(name).is_some(), "{}: no field {name}", part.what);
        }
    }
}
