//! What OpenSearch Dashboards shows: index patterns, searches, and the dashboards of [`BOARDS`].
//!
//! A panel is told in a few words; the saved object that Dashboards reads is made from them. Ids
//! are fixed, so that a later version finds what an earlier one has made.

mod boards;

pub use boards::BOARDS;

use serde_json::{Value, json};

/// Columns of a dashboard's grid.
const GRID: usize = 48;

/// What keeps incidents out of what counts lines: both stand in `PREFIX-*`.
const NO_INCIDENTS: &str = "NOT event.dataset:\"twosec.incidents\"";

/// A page of panels.
#[derive(Debug, Clone, Copy)]
pub struct Board {
    /// The end of its id, and the beginning of those of its panels.
    pub name: &'static str,
    pub title: &'static str,
    /// What it answers, in a sentence.
    pub about: &'static str,
    /// The time that it shows when it is opened, such as `now-24h`.
    pub from: &'static str,
    pub rows: &'static [Row],
}

/// Panels of the same size, side by side.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub height: usize,
    pub panels: &'static [Panel],
}

#[derive(Debug, Clone, Copy)]
pub struct Panel {
    pub name: &'static str,
    pub title: &'static str,
    pub source: Source,
    /// What is counted, in Lucene's query language; all, where it is empty. `{prefix}` is that of
    /// the indices.
    pub query: &'static str,
    pub show: Show,
}

/// Where a panel looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Lines, of all days.
    Events,
    Incidents,
}

/// How a panel shows what it finds.
#[derive(Debug, Clone, Copy)]
pub enum Show {
    /// A number.
    Number(Measure),
    /// A row for each value, with numbers beside it.
    Table(&'static [Values], &'static [Measure]),
    /// A bar for each span of time, in a colour for each value.
    OverTime(Values),
    /// A ring with a piece for each value.
    Shares(Values),
    /// A dot for each place in this field.
    Map(&'static str),
    /// The documents, newest first, in these columns.
    Documents(&'static [&'static str]),
}

/// The values of a field that most documents have.
#[derive(Debug, Clone, Copy)]
pub struct Values {
    pub field: &'static str,
    pub label: &'static str,
    pub at_most: usize,
}

/// A number over documents, and how it is called; without a name, as Dashboards calls it.
#[derive(Debug, Clone, Copy)]
pub enum Measure {
    Count(&'static str),
    /// How many values a field has.
    Distinct(&'static str, &'static str),
    Max(&'static str, &'static str),
    Sum(&'static str, &'static str),
}

/// An object as Dashboards keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedObject {
    /// Such as `dashboard`.
    pub kind: &'static str,
    pub id: String,
    pub attributes: Value,
    pub references: Value,
}

impl SavedObject {
    /// The object as a line of an export. Nothing is to be migrated: the versions are those of
    /// the last migration of each kind, which Dashboards 2.x and 3.x share.
    pub fn exported(&self) -> Value {
        let version = match self.kind {
            "index-pattern" => "7.6.0",
            "visualization" => "7.10.0",
            _ => "7.9.3",
        };
        json!({
            "type": self.kind,
            "id": self.id,
            "attributes": self.attributes,
            "references": self.references,
            "migrationVersion": {self.kind: version},
        })
    }
}

/// The objects as Dashboards imports them: one on a line.
pub fn ndjson<'o>(objects: impl IntoIterator<Item = &'o SavedObject>) -> String {
    objects.into_iter().map(|object| format!("{}\n", object.exported())).collect()
}

/// All objects for the indices that begin with `prefix`. Whoever is referred to comes first.
pub fn saved_objects(prefix: &str) -> Vec<SavedObject> {
    let names = Names { prefix };
    let mut objects: Vec<_> = [Source::Events, Source::Incidents].map(|source| names.pattern(source)).into();
    for board in BOARDS {
        let panels = board.rows.iter().flat_map(|row| row.panels);
        objects.extend(panels.map(|panel| names.panel(board, panel)));
        objects.push(names.board(board));
    }
    objects
}

/// What carries the prefix of the indices, so that several can stand side by side.
struct Names<'p> {
    prefix: &'p str,
}

impl Names<'_> {
    fn title(&self, title: &str) -> String {
        format!("[{}] {title}", self.prefix)
    }

    fn pattern_id(&self, source: Source) -> String {
        match source {
            Source::Events => format!("{}-pattern-events", self.prefix),
            Source::Incidents => format!("{}-pattern-incidents", self.prefix),
        }
    }

    fn panel_id(&self, board: &Board, panel: &Panel) -> String {
        format!("{}-{}-{}", self.prefix, board.name, panel.name)
    }

    /// Dashboards fills in the fields by itself, when it is opened for the first time.
    fn pattern(&self, source: Source) -> SavedObject {
        let title = match source {
            Source::Events => format!("{}-*", self.prefix),
            Source::Incidents => format!("{}-incidents", self.prefix),
        };
        SavedObject {
            kind: "index-pattern",
            id: self.pattern_id(source),
            attributes: json!({"title": title, "timeFieldName": "@timestamp"}),
            references: json!([]),
        }
    }

    fn panel(&self, board: &Board, panel: &Panel) -> SavedObject {
        let title = self.title(panel.title);
        let mut source = json!({
            "query": {"language": "lucene", "query": panel.query().replace("{prefix}", self.prefix)},
            "filter": [],
            "indexRefName": "kibanaSavedObjectMeta.searchSourceJSON.index",
        });
        let (kind, mut attributes) = match panel.show {
            Show::Documents(columns) => {
                source["highlightAll"] = json!(true);
                source["version"] = json!(true);
                ("search", json!({"columns": columns, "sort": [["@timestamp", "desc"]], "hits": 0}))
            }
            _ => {
                let state = panel.vis_state(&title).to_string();
                ("visualization", json!({"visState": state, "uiStateJSON": colours().to_string()}))
            }
        };
        attributes["title"] = json!(title);
        attributes["description"] = json!("");
        attributes["version"] = json!(1);
        attributes["kibanaSavedObjectMeta"] = json!({"searchSourceJSON": source.to_string()});
        let references = json!([{
            "name": "kibanaSavedObjectMeta.searchSourceJSON.index",
            "type": "index-pattern",
            "id": self.pattern_id(panel.source),
        }]);
        SavedObject { kind, id: self.panel_id(board, panel), attributes, references }
    }

    fn board(&self, board: &Board) -> SavedObject {
        let (mut panels, mut references, mut y) = (Vec::new(), Vec::new(), 0);
        for row in board.rows {
            let width = GRID / row.panels.len();
            for (column, panel) in row.panels.iter().enumerate() {
                let (number, name) = (panels.len().to_string(), format!("panel_{}", panels.len()));
                panels.push(json!({
                    "version": "2.11.0",
                    "gridData": {"x": column * width, "y": y, "w": width, "h": row.height, "i": number},
                    "panelIndex": number,
                    "title": panel.title,
                    "embeddableConfig": {},
                    "panelRefName": name,
                }));
                let kind = if matches!(panel.show, Show::Documents(_)) { "search" } else { "visualization" };
                references.push(json!({"name": name, "type": kind, "id": self.panel_id(board, panel)}));
            }
            y += row.height;
        }
        let source = json!({"query": {"language": "kuery", "query": ""}, "filter": []});
        let attributes = json!({
            "title": self.title(board.title),
            "description": board.about,
            "hits": 0,
            "version": 1,
            "panelsJSON": json!(panels).to_string(),
            "optionsJSON": json!({"hidePanelTitles": false, "useMargins": true}).to_string(),
            "timeRestore": true,
            "timeFrom": board.from,
            "timeTo": "now",
            "refreshInterval": {"pause": false, "value": 60_000},
            "kibanaSavedObjectMeta": {"searchSourceJSON": source.to_string()},
        });
        let id = format!("{}-{}", self.prefix, board.name);
        SavedObject { kind: "dashboard", id, attributes, references: json!(references) }
    }
}

/// What is bad is red wherever it is drawn.
fn colours() -> Value {
    json!({"vis": {"colors": {
        "likely_succeeded": "#BD271E", "unknown": "#F5A700", "failed": "#98A2B3", "blocked": "#54B399",
        "critical": "#BD271E", "high": "#E7664C", "medium": "#F5A700", "low": "#98A2B3",
    }}})
}

impl Panel {
    fn query(&self) -> String {
        match (self.source, self.query) {
            (Source::Incidents, query) => query.to_owned(),
            (Source::Events, "") => NO_INCIDENTS.to_owned(),
            (Source::Events, query) => format!("({query}) AND {NO_INCIDENTS}"),
        }
    }

    /// What Dashboards calls the state of a visualization, without what it fills in by itself.
    fn vis_state(&self, title: &str) -> Value {
        let (kind, mut params) = match self.show {
            Show::Number(_) => ("metric", number_params()),
            Show::Table(..) => ("table", table_params()),
            Show::OverTime(_) => ("histogram", bar_params()),
            Show::Shares(_) => ("pie", ring_params()),
            Show::Map(_) => ("tile_map", map_params()),
            Show::Documents(_) => unreachable!("documents are a search, not a drawing"),
        };
        params["type"] = json!(kind);
        params["addTooltip"] = json!(true);
        let numbered = |(at, mut aggregation): (usize, Value)| {
            aggregation["id"] = json!((at + 1).to_string());
            aggregation["enabled"] = json!(true);
            aggregation
        };
        let aggregations: Vec<_> = self.show.aggregations().into_iter().enumerate().map(numbered).collect();
        json!({"title": title, "type": kind, "params": params, "aggs": aggregations})
    }
}

impl Show {
    /// Numbers first: values are ordered by the first of them.
    fn aggregations(&self) -> Vec<Value> {
        let count = || Measure::Count("").aggregation();
        match self {
            Show::Number(measure) => vec![measure.aggregation()],
            Show::Table(by, measures) => {
                let measures = measures.iter().map(Measure::aggregation);
                measures.chain(by.iter().map(|values| values.aggregation("bucket"))).collect()
            }
            Show::OverTime(values) => vec![count(), over_time(), values.aggregation("group")],
            Show::Shares(values) => vec![count(), values.aggregation("segment")],
            Show::Map(field) => vec![count(), places(field)],
            Show::Documents(_) => Vec::new(),
        }
    }
}

impl Measure {
    fn aggregation(&self) -> Value {
        let (kind, field, label) = match *self {
            Measure::Count(label) => ("count", None, label),
            Measure::Distinct(field, label) => ("cardinality", Some(field), label),
            Measure::Max(field, label) => ("max", Some(field), label),
            Measure::Sum(field, label) => ("sum", Some(field), label),
        };
        let mut params = json!({});
        if let Some(field) = field {
            params["field"] = json!(field);
        }
        if !label.is_empty() {
            params["customLabel"] = json!(label);
        }
        json!({"type": kind, "schema": "metric", "params": params})
    }
}

impl Values {
    fn aggregation(&self, schema: &str) -> Value {
        json!({"type": "terms", "schema": schema, "params": {
            "field": self.field,
            "customLabel": self.label,
            "orderBy": "1",
            "order": "desc",
            "size": self.at_most,
            "otherBucket": false,
            "otherBucketLabel": "Other",
            "missingBucket": false,
            "missingBucketLabel": "Missing",
        }})
    }
}

fn over_time() -> Value {
    json!({"type": "date_histogram", "schema": "segment", "params": {
        "field": "@timestamp",
        "interval": "auto",
        "useNormalizedOpenSearchInterval": true,
        "scaleMetricValues": false,
        "drop_partials": false,
        "min_doc_count": 1,
        "extended_bounds": {},
    }})
}

fn places(field: &str) -> Value {
    json!({"type": "geohash_grid", "schema": "segment", "params": {
        "field": field,
        "autoPrecision": true,
        "precision": 2,
        "useGeocentroid": true,
        "isFilteredByCollar": true,
        "mapZoom": 2,
        "mapCenter": [0, 0],
    }})
}

fn number_params() -> Value {
    json!({"addLegend": false, "metric": {
        "percentageMode": false,
        "useRanges": false,
        "colorSchema": "Green to Red",
        "metricColorMode": "None",
        "colorsRange": [{"from": 0, "to": 10_000}],
        "labels": {"show": true},
        "invertColors": false,
        "style": {"bgFill": "#000", "bgColor": false, "labelColor": false, "subText": "", "fontSize": 36},
    }})
}

fn table_params() -> Value {
    json!({
        "perPage": 10,
        "showPartialRows": false,
        "showMetricsAtAllLevels": false,
        "showTotal": false,
        "totalFunc": "sum",
        "percentageCol": "",
    })
}

fn bar_params() -> Value {
    let text = json!({"show": true, "filter": true, "truncate": 100});
    json!({
        "grid": {"categoryLines": false},
        "categoryAxes": [{"id": "CategoryAxis-1", "type": "category", "position": "bottom", "show": true,
            "style": {}, "scale": {"type": "linear"}, "labels": text, "title": {}}],
        "valueAxes": [{"id": "ValueAxis-1", "name": "LeftAxis-1", "type": "value", "position": "left", "show": true,
            "style": {}, "scale": {"type": "linear", "mode": "normal"},
            "labels": {"show": true, "rotate": 0, "filter": false, "truncate": 100}, "title": {"text": ""}}],
        "seriesParams": [{"show": true, "type": "histogram", "mode": "stacked", "data": {"label": "Count", "id": "1"},
            "valueAxis": "ValueAxis-1", "drawLinesBetweenPoints": true, "lineWidth": 2, "showCircles": true}],
        "addLegend": true,
        "legendPosition": "right",
        "times": [],
        "addTimeMarker": false,
        "labels": {"show": false},
        "thresholdLine": {"show": false, "value": 10, "width": 1, "style": "full", "color": "#E7664C"},
    })
}

fn ring_params() -> Value {
    json!({
        "isDonut": true,
        "addLegend": true,
        "legendPosition": "right",
        "labels": {"show": false, "values": true, "last_level": true, "truncate": 100},
    })
}

fn map_params() -> Value {
    json!({
        "colorSchema": "Yellow to Red",
        "mapType": "Scaled Circle Markers",
        "isDesaturated": true,
        "heatClusterSize": 1.5,
        "legendPosition": "bottomright",
        "mapZoom": 2,
        "mapCenter": [0, 0],
        "wms": {"enabled": false, "options": {"format": "image/png", "transparent": true}},
    })
}

#[cfg(test)]
mod tests;
