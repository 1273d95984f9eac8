//! The dashboards, in the order in which somebody asks: what happens, who came how far, who they
//! are, and whether all of it arrives.

use super::{Board, Measure, Panel, Row, Show, Source, Values};
use Measure::{Count, Distinct, Max, Sum};
use Show::{Documents, Map, Number, OverTime, Shares, Table};

/// All of them.
pub const BOARDS: &[Board] = &[ATTACKS, INCIDENTS, ACTORS, HEALTH];

/// A panel about lines.
const fn events(name: &'static str, title: &'static str, query: &'static str, show: Show) -> Panel {
    Panel { name, title, source: Source::Events, query, show }
}

/// A panel about incidents.
const fn incidents(name: &'static str, title: &'static str, query: &'static str, show: Show) -> Panel {
    Panel { name, title, source: Source::Incidents, query, show }
}

const fn row(height: usize, panels: &'static [Panel]) -> Row {
    Row { height, panels }
}

const fn by(field: &'static str, label: &'static str, at_most: usize) -> Values {
    Values { field, label, at_most }
}

/// Lines in which an attack was found.
const ATTACK: &str = "event.kind:alert";
const WORKED: &str = "attack.outcome:likely_succeeded";

const CATEGORY: Values = by("attack.categories", "Category", 24);
const OUTCOME: Values = by("attack.outcome", "Outcome", 4);
const SEVERITY: Values = by("attack.severity", "Severity", 4);
const HOST: Values = by("host.name", "Host", 20);
const LOG: Values = by("log.file.path", "Log", 20);

const ATTACKS_COUNT: Measure = Count("Attacks");
const LINES: Measure = Count("Lines");
const ADDRESSES: Measure = Distinct("source.ip", "Addresses");
const WORST: Measure = Max("attack.score", "Worst score");
const LAST: Measure = Max("@timestamp", "Last");

const ATTACKS: Board = Board {
    name: "attacks",
    title: "Web attacks",
    about: "What is tried against the web server, and whether it worked",
    from: "now-24h",
    rows: &[
        row(
            6,
            &[
                events("requests", "Requests", "event.type:access", Number(Count("Requests"))),
                events("found", "Attacks", ATTACK, Number(ATTACKS_COUNT)),
                events("worked", "Likely succeeded", WORKED, Number(Count("Likely succeeded"))),
                events("addresses", "Attacking addresses", ATTACK, Number(ADDRESSES)),
            ],
        ),
        row(
            13,
            &[
                events("over-time", "Attacks by category", ATTACK, OverTime(CATEGORY)),
                events("outcomes-over-time", "Attacks by outcome", ATTACK, OverTime(OUTCOME)),
            ],
        ),
        row(
            12,
            &[
                events("outcomes", "Whether they worked", ATTACK, Shares(OUTCOME)),
                events("severities", "How bad", ATTACK, Shares(SEVERITY)),
                events(
                    "answers",
                    "What the server answered",
                    ATTACK,
                    Shares(by("http.response.status_code", "Status", 12)),
                ),
            ],
        ),
        row(
            14,
            &[events(
                "succeeded",
                "Attacks that likely worked",
                WORKED,
                Documents(&[
                    "source.ip",
                    "attack.categories",
                    "attack.outcome_reason",
                    "http.response.status_code",
                    "url.original",
                    "host.name",
                ]),
            )],
        ),
        row(
            14,
            &[
                events("categories", "Categories", ATTACK, Table(&[CATEGORY], &[ATTACKS_COUNT, ADDRESSES, WORST])),
                events(
                    "targets",
                    "Attacked paths",
                    ATTACK,
                    Table(&[by("url.path", "Path", 50)], &[ATTACKS_COUNT, ADDRESSES, WORST]),
                ),
            ],
        ),
        row(
            14,
            &[
                events("rules", "Rules", ATTACK, Table(&[by("rule.id", "Rule", 50)], &[ATTACKS_COUNT])),
                events(
                    "techniques",
                    "Techniques of MITRE ATT&CK",
                    ATTACK,
                    Table(&[by("threat.technique.id", "Technique", 30)], &[ATTACKS_COUNT]),
                ),
                events(
                    "holes",
                    "Known holes that were tried",
                    ATTACK,
                    Table(&[by("attack.findings.cve", "CVE", 30)], &[ATTACKS_COUNT, ADDRESSES]),
                ),
            ],
        ),
    ],
};

/// The columns that tell an incident.
const INCIDENT: &[&str] = &[
    "source.address",
    "attack.severity",
    "attack.outcome",
    "attack.categories",
    "twosec.incident.requests",
    "event.start",
    "message",
];

const INCIDENTS: Board = Board {
    name: "incidents",
    title: "Incidents",
    about: "Who did what on which host, how far it came, and what is still going on",
    from: "now-7d",
    rows: &[
        row(
            6,
            &[
                incidents("all", "Incidents", "", Number(Count("Incidents"))),
                incidents("under-way", "Under way", "twosec.incident.is_over:false", Number(Count("Under way"))),
                incidents("worked", "Likely succeeded", WORKED, Number(Count("Likely succeeded"))),
                incidents("actors", "Actors", "", Number(Distinct("source.address", "Actors"))),
            ],
        ),
        row(14, &[incidents("latest", "Latest incidents", "", Documents(INCIDENT))]),
        row(
            12,
            &[
                incidents("over-time", "Incidents by severity", "", OverTime(SEVERITY)),
                incidents("outcomes", "Whether they worked", "", Shares(OUTCOME)),
                incidents("phases", "How far they came", "", Shares(by("twosec.incident.phases", "Phase", 3))),
            ],
        ),
        row(14, &[incidents("succeeded", "Incidents that likely worked", WORKED, Documents(INCIDENT))]),
        row(
            14,
            &[
                incidents(
                    "worst",
                    "Worst actors",
                    "",
                    Table(
                        &[by("source.address", "Actor", 50)],
                        &[
                            WORST,
                            Count("Incidents"),
                            Sum("twosec.incident.findings", "Findings"),
                            Sum("twosec.incident.requests", "Requests"),
                            LAST,
                        ],
                    ),
                ),
                incidents(
                    "targets",
                    "Attacked paths",
                    "",
                    Table(&[by("twosec.incident.targets", "Path", 50)], &[Count("Incidents"), WORST]),
                ),
            ],
        ),
        row(
            14,
            &[
                incidents("categories", "Categories", "", Table(&[CATEGORY], &[Count("Incidents"), WORST])),
                incidents(
                    "behaviour",
                    "What no single line shows",
                    "",
                    Table(&[by("twosec.incident.behaviour", "Behaviour", 30)], &[Count("Incidents")]),
                ),
                incidents("hosts", "Hosts", "", Table(&[HOST], &[Count("Incidents"), WORST, LAST])),
            ],
        ),
    ],
};

const ACTORS: Board = Board {
    name: "actors",
    title: "Actors",
    about: "Where attacks come from, and with which tools",
    from: "now-7d",
    rows: &[
        row(
            6,
            &[
                events("addresses", "Attacking addresses", ATTACK, Number(ADDRESSES)),
                events("networks", "Networks", ATTACK, Number(Distinct("source.as.number", "Networks"))),
                events("countries", "Countries", ATTACK, Number(Distinct("source.geo.country_iso_code", "Countries"))),
                events("tools", "User agents", ATTACK, Number(Distinct("user_agent.original", "User agents"))),
            ],
        ),
        row(
            18,
            &[
                events("map", "Where attacks come from", ATTACK, Map("source.geo.location")),
                events("over-time", "The ten busiest addresses", ATTACK, OverTime(by("source.ip", "Address", 10))),
            ],
        ),
        row(
            15,
            &[events(
                "who",
                "Addresses",
                ATTACK,
                Table(
                    &[by("source.ip", "Address", 100)],
                    &[
                        ATTACKS_COUNT,
                        WORST,
                        Distinct("attack.categories", "Categories"),
                        Distinct("url.path", "Paths"),
                        LAST,
                    ],
                ),
            )],
        ),
        row(
            14,
            &[
                events(
                    "by-country",
                    "By country",
                    ATTACK,
                    Table(&[by("source.geo.country_name", "Country", 50)], &[ATTACKS_COUNT, ADDRESSES, WORST]),
                ),
                events(
                    "by-network",
                    "By network",
                    ATTACK,
                    Table(&[by("source.as.organization.name", "Network", 50)], &[ATTACKS_COUNT, ADDRESSES, WORST]),
                ),
            ],
        ),
        row(
            14,
            &[
                events(
                    "by-tool",
                    "By user agent",
                    ATTACK,
                    Table(&[by("user_agent.original", "User agent", 50)], &[ATTACKS_COUNT, ADDRESSES]),
                ),
                events("classes", "Kinds of addresses", ATTACK, Shares(by("twosec.source.class", "Kind", 10))),
                events(
                    "providers",
                    "Networks of your own list",
                    ATTACK,
                    Table(&[by("twosec.source.provider", "Network", 30)], &[ATTACKS_COUNT, ADDRESSES, WORST]),
                ),
            ],
        ),
    ],
};

/// The index knows no times of arrival, so that the same line stays the same document whenever
/// it comes. What lags is seen by how old a host's last line is.
const HEALTH: Board = Board {
    name: "health",
    title: "Pipeline health",
    about: "Whether the lines of all hosts arrive, and what could not be read",
    from: "now-24h",
    rows: &[
        row(
            6,
            &[
                events("lines", "Lines", "", Number(LINES)),
                events("newest", "Newest line", "", Number(Max("@timestamp", "Newest line"))),
                events("unread", "Not readable", "event.kind:pipeline_error", Number(Count("Not readable"))),
                events("gaps", "Gaps", "twosec.gap.reason:*", Number(Count("Gaps"))),
                events("undated", "Without a day", "_index:\"{prefix}-undated\"", Number(Count("Without a day"))),
                events("cut", "Cut", "twosec.cut_from:*", Number(Count("Cut"))),
            ],
        ),
        row(
            13,
            &[
                events("over-time", "Lines by kind of log", "", OverTime(by("event.dataset", "Kind", 5))),
                events("hosts-over-time", "Lines by host", "", OverTime(HOST)),
            ],
        ),
        row(
            14,
            &[
                events("hosts", "Hosts, and their last lines", "", Table(&[HOST], &[LINES, LAST])),
                events("logs", "Logs, and their last lines", "", Table(&[HOST, LOG], &[LINES, LAST])),
            ],
        ),
        row(
            14,
            &[
                events(
                    "programs",
                    "Who reads the lines",
                    "",
                    Table(
                        &[by("agent.type", "Program", 5), by("agent.version", "Version", 10)],
                        &[LINES, Distinct("host.id", "Hosts"), LAST],
                    ),
                ),
                events(
                    "rules",
                    "By which rules attacks were found",
                    ATTACK,
                    Table(&[by("rule.ruleset", "Rules", 10)], &[ATTACKS_COUNT, Distinct("host.id", "Hosts"), LAST]),
                ),
                events(
                    "reasons",
                    "Why bytes were lost",
                    "twosec.gap.reason:*",
                    Table(&[HOST, LOG, by("twosec.gap.reason", "Reason", 10)], &[Count("Gaps"), LAST]),
                ),
            ],
        ),
        row(
            14,
            &[events(
                "odd",
                "Lines that could not be read, and gaps",
                "event.kind:pipeline_error",
                Documents(&["host.name", "log.file.path", "error.message", "event.original"]),
            )],
        ),
    ],
};
