//! Saved objects into OpenSearch Dashboards, where they differ.

use super::saved::{SavedObject, ndjson};
use super::{ANSWER_CHARS, Action, Answer, Done, SetupError, diff};
use async_trait::async_trait;
use serde_json::{Map, Value, json};

const ASK: &str = "/api/saved_objects/_bulk_get";
const IMPORT: &str = "/api/saved_objects/_import?overwrite=true";

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub enum Body<'b> {
    Json(&'b Value),
    /// An export, as a file of a form.
    File(&'b str),
}

/// OpenSearch Dashboards, as its administrator asks it.
#[async_trait]
pub trait Dashboards: Send + Sync {
    /// Makes one call. `path` begins with a slash.
    async fn post(&self, path: &str, body: Body<'_>) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>>;
}

/// Brings Dashboards to what it should show, or tells what that would change. Only what differs
/// is imported, so that what a user has added to an index pattern stays as long as it can.
pub async fn show(
    dashboards: &dyn Dashboards,
    objects: &[SavedObject],
    is_dry_run: bool,
) -> Result<Vec<Done>, SetupError> {
    let there = there(dashboards, objects).await?;
    let done: Vec<_> = objects.iter().map(|object| compared(object, there.iter().find(|it| is(it, object)))).collect();
    let differs = |done: &Done| done.action != Action::Same;
    let changed: Vec<_> = objects.iter().zip(&done).filter(|(_, done)| differs(done)).map(|(it, _)| it).collect();
    if !is_dry_run && !changed.is_empty() {
        import(dashboards, &changed).await?;
    }
    Ok(done)
}

/// What Dashboards says of each object, whether it has it or not.
async fn there(dashboards: &dyn Dashboards, objects: &[SavedObject]) -> Result<Vec<Value>, SetupError> {
    let asked: Vec<_> = objects.iter().map(|object| json!({"type": object.kind, "id": object.id})).collect();
    let body = json!(asked);
    let mut answer = asked_for(dashboards, ASK, Body::Json(&body), "to tell its saved objects").await?;
    match answer["saved_objects"].take() {
        Value::Array(there) => Ok(there),
        _ => Err(refused("to tell its saved objects", 200, &answer)),
    }
}

async fn import(dashboards: &dyn Dashboards, objects: &[&SavedObject]) -> Result<(), SetupError> {
    let file = ndjson(objects.iter().copied());
    let answer = asked_for(dashboards, IMPORT, Body::File(&file), "the saved objects").await?;
    // An import that could not do all of it answers 200, too.
    if answer["success"] == true { Ok(()) } else { Err(refused("some saved objects", 200, &answer["errors"])) }
}

async fn asked_for(dashboards: &dyn Dashboards, path: &str, body: Body<'_>, what: &str) -> Result<Value, SetupError> {
    let (status, answer) = dashboards.post(path, body).await.map_err(SetupError::Dashboards)?;
    if (200..300).contains(&status) { Ok(answer) } else { Err(refused(what, status, &answer)) }
}

fn refused(what: &str, status: u16, answer: &Value) -> SetupError {
    let told = answer["message"].as_str().map_or_else(|| answer.to_string(), str::to_owned);
    let answer = told.chars().take(ANSWER_CHARS).collect();
    SetupError::DashboardsRefused { what: what.to_owned(), status, answer }
}

fn is(there: &Value, object: &SavedObject) -> bool {
    there["type"] == object.kind && there["id"] == object.id && there["error"].is_null()
}

fn compared(object: &SavedObject, there: Option<&Value>) -> Done {
    let what = format!("{} {}", object.kind, object.id);
    let Some(there) = there else {
        return Done { what, action: Action::Made, changes: Vec::new() };
    };
    let old = json!({
        "attributes": unpacked(&of_ours(&there["attributes"], &object.attributes)),
        "references": there["references"],
    });
    let new = json!({"attributes": unpacked(&object.attributes), "references": object.references});
    let changes = diff::changes(&old, &new, false);
    Done { what, action: if changes.is_empty() { Action::Same } else { Action::Changed }, changes }
}

/// Without attributes that we do not set: the fields of an index pattern, and how they are shown.
fn of_ours(there: &Value, ours: &Value) -> Value {
    let is_ours = |(name, _): &(&String, &Value)| ours.get(name.as_str()).is_some();
    let there = there.as_object().into_iter().flatten();
    Value::Object(there.filter(is_ours).map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// With what stands in texts as JSON unpacked, so that a difference can be told by its name.
fn unpacked(value: &Value) -> Value {
    match value {
        Value::String(text) if text.starts_with(['{', '[']) => {
            serde_json::from_str(text).unwrap_or_else(|_| json!(text))
        }
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, member)| (name.clone(), unpacked(member))).collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::saved::saved_objects;
    use std::sync::Mutex;

    /// Dashboards that keeps what it is given, and fills in the fields of index patterns.
    #[derive(Default)]
    struct Fake {
        kept: Mutex<Vec<Value>>,
        imports: Mutex<Vec<usize>>,
        refuses: bool,
    }

    impl Fake {
        fn imports(&self) -> Vec<usize> {
            std::mem::take(&mut self.imports.lock().unwrap())
        }

        fn found(&self, asked: &Value) -> Value {
            let kept = self.kept.lock().unwrap();
            let mut found =
                kept.iter().find(|kept| kept["id"] == asked["id"] && kept["type"] == asked["type"]).cloned();
            if let Some(pattern) = found.as_mut().filter(|found| found["type"] == "index-pattern") {
                pattern["attributes"]["fields"] = json!("[]");
            }
            let missing = json!({"statusCode": 404, "error": "Not Found", "message": "not found"});
            found.unwrap_or_else(|| json!({"id": asked["id"], "type": asked["type"], "error": missing}))
        }

        fn import(&self, file: &str) -> Value {
            let new: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            self.imports.lock().unwrap().push(new.len());
            let mut kept = self.kept.lock().unwrap();
            kept.retain(|kept| !new.iter().any(|new| new["id"] == kept["id"]));
            kept.extend(new.iter().cloned());
            let dangling = |new: &&Value| {
                let referred = new["references"].as_array().unwrap();
                referred.iter().any(|to| !kept.iter().any(|kept| kept["id"] == to["id"] && kept["type"] == to["type"]))
            };
            let errors: Vec<_> = new.iter().filter(dangling).map(|new| json!({"id": new["id"]})).collect();
            json!({"success": errors.is_empty() && !self.refuses, "successCount": new.len(), "errors": errors})
        }
    }

    #[async_trait]
    impl Dashboards for Fake {
        async fn post(&self, path: &str, body: Body<'_>) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
            match (path, body) {
                (ASK, Body::Json(asked)) => {
                    let found: Vec<_> = asked.as_array().unwrap().iter().map(|asked| self.found(asked)).collect();
                    Ok((200, json!({"saved_objects": found})))
                }
                (IMPORT, Body::File(file)) => Ok((200, self.import(file))),
                _ => Ok((404, json!({"statusCode": 404, "error": "Not Found", "message": "Not Found"}))),
            }
        }
    }

    fn told(done: &[Done], action: Action) -> Vec<(&str, &[String])> {
        done.iter().filter(|done| done.action == action).map(|done| (&*done.what, &*done.changes)).collect()
    }

    #[tokio::test]
    async fn a_second_run_imports_nothing() {
        let (dashboards, objects) = (Fake::default(), saved_objects("twosec"));
        let first = show(&dashboards, &objects, false).await.unwrap();
        assert_eq!(told(&first, Action::Made).len(), objects.len());
        assert_eq!(dashboards.imports(), [objects.len()]);
        let second = show(&dashboards, &objects, false).await.unwrap();
        assert_eq!(told(&second, Action::Same).len(), objects.len(), "{second:?}");
        assert!(dashboards.imports().is_empty());
    }

    #[tokio::test]
    async fn what_a_user_changed_is_told_and_only_that_is_put_back() {
        let (dashboards, objects) = (Fake::default(), saved_objects("twosec"));
        show(&dashboards, &objects, false).await.unwrap();
        dashboards.imports();
        for kept in dashboards.kept.lock().unwrap().iter_mut().filter(|kept| kept["id"] == "twosec-attacks-found") {
            let state = kept["attributes"]["visState"].as_str().unwrap().replace("\"fontSize\":36", "\"fontSize\":60");
            kept["attributes"]["visState"] = json!(state);
        }
        let change = ["attributes.visState.params.metric.style.fontSize: 60 -> 36".to_owned()];
        let dry = show(&dashboards, &objects, true).await.unwrap();
        assert_eq!(told(&dry, Action::Changed), [("visualization twosec-attacks-found", &change[..])]);
        assert!(dashboards.imports().is_empty(), "a dry run imports nothing");
        show(&dashboards, &objects, false).await.unwrap();
        assert_eq!(dashboards.imports(), [1]);
    }

    #[tokio::test]
    async fn a_dry_run_on_nothing_imports_nothing() {
        let (dashboards, objects) = (Fake::default(), saved_objects("twosec"));
        let dry = show(&dashboards, &objects, true).await.unwrap();
        assert_eq!(told(&dry, Action::Made).len(), objects.len());
        assert!(dashboards.imports().is_empty());
    }

    #[tokio::test]
    async fn an_import_that_could_not_do_all_of_it_is_an_error() {
        let dashboards = Fake { refuses: true, ..Fake::default() };
        let error = show(&dashboards, &saved_objects("twosec"), false).await.unwrap_err();
        assert_eq!(error.to_string(), "Dashboards refuses some saved objects with 200: []");
    }
}
