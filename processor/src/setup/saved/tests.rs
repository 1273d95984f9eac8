use super::*;
use event::fields::{self, Kind};
use std::collections::BTreeSet;

fn objects(kind: &str) -> Vec<SavedObject> {
    saved_objects("twosec").into_iter().filter(|object| object.kind == kind).collect()
}

fn unpacked(value: &Value) -> Value {
    serde_json::from_str(value.as_str().unwrap()).unwrap()
}

/// Its query, in Lucene's language.
fn query(object: &SavedObject) -> String {
    let source = unpacked(&object.attributes["kibanaSavedObjectMeta"]["searchSourceJSON"]);
    source["query"]["query"].as_str().unwrap().to_owned()
}

#[test]
fn ids_are_unique_and_carry_the_prefix() {
    let objects = saved_objects("shop");
    let ids: BTreeSet<&str> = objects.iter().map(|object| &*object.id).collect();
    assert_eq!(ids.len(), objects.len());
    assert!(ids.iter().all(|id| id.starts_with("shop-")));
}

#[test]
fn dashboards_have_the_ids_that_links_lead_to() {
    let ids: Vec<_> = objects("dashboard").into_iter().map(|object| object.id).collect();
    assert_eq!(ids, ["twosec-attacks", "twosec-incidents", "twosec-actors", "twosec-health"]);
}

#[test]
fn whatever_is_referred_to_is_there_under_the_name_that_refers_to_it() {
    let objects = saved_objects("twosec");
    let ids: BTreeSet<_> = objects.iter().map(|object| (object.kind, &*object.id)).collect();
    for object in &objects {
        for reference in object.references.as_array().unwrap() {
            let text = |name: &str| reference[name].as_str().unwrap();
            assert!(ids.contains(&(text("type"), text("id"))), "{} refers to {reference}", object.id);
            let name = json!(text("name")).to_string().replace('"', "\\\"");
            assert!(object.attributes.to_string().contains(&name), "{} does not use {reference}", object.id);
        }
    }
}

#[test]
fn an_export_is_a_line_of_json_for_each_object() {
    let objects = saved_objects("twosec");
    let export = ndjson(&objects);
    let lines: Vec<Value> = export.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), objects.len());
    assert!(export.len() < 200_000, "{} bytes", export.len());
    let expected = json!({
        "type": "index-pattern",
        "id": "twosec-pattern-incidents",
        "attributes": {"title": "twosec-incidents", "timeFieldName": "@timestamp"},
        "references": [],
        "migrationVersion": {"index-pattern": "7.6.0"},
    });
    assert_eq!(lines[1], expected);
}

#[test]
fn a_panel_is_what_dashboards_makes_of_it() {
    let all = objects("visualization");
    let categories = all.iter().find(|object| object.id == "twosec-attacks-over-time").unwrap();
    let state = unpacked(&categories.attributes["visState"]);
    assert_eq!((&state["type"], &state["title"]), (&json!("histogram"), &json!("[twosec] Attacks by category")));
    let aggregations: Vec<_> = state["aggs"].as_array().unwrap().iter().map(|it| [&it["id"], &it["type"]]).collect();
    assert_eq!(json!(aggregations), json!([["1", "count"], ["2", "date_histogram"], ["3", "terms"]]));
    assert_eq!(query(categories), r#"(event.kind:alert) AND NOT event.dataset:"twosec.incidents""#);
}

#[test]
fn panels_stand_side_by_side_and_rows_below_each_other() {
    for board in objects("dashboard") {
        let mut taken = BTreeSet::new();
        for panel in unpacked(&board.attributes["panelsJSON"]).as_array().unwrap() {
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|name| panel["gridData"][name].as_u64().unwrap());
            assert!(x + w <= GRID as u64 && w > 0 && h > 0, "{panel}");
            for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(place), "{} covers what is at {place:?}", panel["title"]);
            }
        }
    }
}

/// Whether OpenSearch can do this with a field of this kind.
fn can(aggregation: &str, kind: Kind) -> bool {
    match aggregation {
        "terms" | "cardinality" => {
            matches!(kind, Kind::Keyword | Kind::Wildcard | Kind::Long | Kind::Ip | Kind::Boolean)
        }
        "max" => matches!(kind, Kind::Long | Kind::Float | Kind::Date),
        "sum" => matches!(kind, Kind::Long | Kind::Float),
        "date_histogram" => kind == Kind::Date,
        "geohash_grid" => kind == Kind::GeoPoint,
        _ => false,
    }
}

#[test]
fn every_field_of_a_panel_exists_and_can_be_counted_as_the_panel_does() {
    for object in objects("visualization") {
        for aggregation in unpacked(&object.attributes["visState"])["aggs"].as_array().unwrap() {
            let kind = aggregation["type"].as_str().unwrap();
            match aggregation["params"]["field"].as_str() {
                Some(name) => {
                    let field = fields::named(name).unwrap_or_else(|| panic!("{}: no field {name}", object.id));
                    assert!(can(kind, field.searched()), "{}: {kind} of {name}", object.id);
                }
                None => assert_eq!(kind, "count", "{}", object.id),
            }
        }
    }
    for object in objects("search") {
        for column in object.attributes["columns"].as_array().unwrap() {
            assert!(fields::named(column.as_str().unwrap()).is_some(), "{}: no field {column}", object.id);
        }
    }
}

#[test]
fn every_field_of_a_query_exists() {
    let objects = [objects("visualization"), objects("search")].concat();
    for object in objects {
        let query = query(&object);
        let words = query.split([' ', '(', ')']).filter_map(|word| word.split_once(':'));
        for (name, _) in words {
            assert!(name == "_index" || fields::named(name).is_some(), "{}: no field {name}", object.id);
        }
    }
}
