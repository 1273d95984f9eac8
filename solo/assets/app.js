// The live page of 2SeC.
//
//     poll -> state -> draw            (every two seconds, while somebody looks)
//     click -> query -> poll           (the query lives in the address, so "back" works)
//
// Nearly all text here was written by attackers. It reaches the page only as text
// nodes, made by `el`, and only through `visible`.

const POLL_MS = 2000;
const TIMEOUT_MS = 10000;
const PAGE = 50;
/// Incidents that are asked for, and those of them that are shown before somebody wants more.
const INCIDENTS = 50;
const INCIDENTS_FIRST = 5;
/// The latest are among them, however many others have likely succeeded.
const INCIDENTS_LATEST = 2;
/// Bytes that an incident keeps of a path.
const PATH_BYTES = 256;
/// What a cell of the table shows of a target; the details show all of it.
const CELL_CHARS = 300;

/// Names and meanings. The order is the order of the stack: what costs most is at the
/// bottom, where heights can be compared.
const CATEGORIES = {
  webshell: ["Web shell", "uses a program that an intruder leaves on the server"],
  cmdi: ["Command injection", "makes the host run shell commands"],
  code: ["Code injection", "makes the application run code"],
  ssti: ["Template injection", "makes the template engine run code"],
  log4shell: ["Log4Shell", "makes Java fetch and run code while it logs"],
  shellshock: ["Shellshock", "makes an old bash run commands"],
  sqli: ["SQL injection", "makes the database run SQL"],
  nosqli: ["NoSQL injection", "changes what a document database is asked"],
  ldapi: ["LDAP injection", "changes what a directory is asked"],
  rfi: ["Remote file inclusion", "makes the server load code from elsewhere"],
  lfi: ["Local file inclusion", "reads files that the site does not offer"],
  upload: ["Malicious upload", "puts a file on the server"],
  xss: ["Cross-site scripting", "puts a script into a page that others open"],
  crlf: ["Header injection", "puts line breaks into the answer's header"],
  "open-redirect": ["Open redirect", "sends visitors of the site elsewhere"],
  csrf: ["Cross-site request forgery", "acts in the name of a visitor"],
  ssrf: ["Server-side request forgery", "makes the server call inner addresses"],
  bruteforce: ["Brute force", "guesses passwords"],
  idor: ["Insecure direct object reference", "walks through ids that belong to others"],
  dos: ["Denial of service", "keeps the server busy"],
  "info-leak": ["Information leak", "asks for files that should not be public"],
  protocol: ["Broken protocol", "sends what is not proper HTTP"],
  scanner: ["Scanner", "is a tool that looks for weaknesses"],
  recon: ["Reconnaissance", "looks around"],
};
const ORDER = Object.keys(CATEGORIES);

const STATUS_TEXT = {
  200: "OK", 201: "Created", 204: "No Content", 206: "Partial Content", 301: "Moved Permanently", 302: "Found", 304: "Not Modified",
  400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout",
  414: "URI Too Long", 429: "Too Many Requests", 500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable",
};

/// What became of an attack: a sign, a name and what the name means. Colour alone tells
/// nothing to those who do not see it.
const OUTCOMES = {
  likely_succeeded: ["▲", "Likely succeeded", "What the server answered, or what followed, looks as if the attack had worked"],
  unknown: ["?", "Unknown", "The answers look like any others"],
  failed: ["–", "Failed", "Answered as something that is not there or not good"],
  blocked: ["■", "Blocked", "The server refused it"],
};
const SUCCESS = "likely_succeeded";

const ALERTS = "event.kind:alert";
const SERVED = "event.outcome:success";

const state = {
  query: "",
  live: true,
  /// The query that the server refused: it is not asked again until it changes.
  refused: null,
  /// When the server answered last; null before the first answer.
  answered: null,
  status: null,
  stats: null,
  /// The events shown, newest first.
  events: [],
  total: 0,
  next: null,
  pages: 0,
  /// A newer first page that waits until the table may move.
  waiting: null,
  /// The newest incidents, whatever the query is; null before the first answer.
  incidents: null,
  /// Whether all of them are shown.
  allIncidents: false,
  /// The event in the details.
  open: null,
  /// What had the focus before the details, as its `data-key`.
  back: null,
  /// Where the pointer or the keys are in the timeline: the time of a bucket.
  cursor: null,
};

// Text and elements ------------------------------------------------------------------

const $ = (id) => document.getElementById(id);

/// Makes control characters, invisible ones and those that turn the reading direction
/// visible, as `\u202e`: a line must not look like another line.
function visible(text) {
  return String(text).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (char) => `\\u${char.codePointAt(0).toString(16).padStart(4, "0")}`);
}

/// Makes an element. Children are elements or text; text is never read as HTML.
function el(tag, props = {}, ...children) {
  const svg = ["svg", "rect", "line", "text", "g"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === null || value === undefined) continue;
    else if (name.startsWith("aria-")) node.setAttribute(name, value);
    else if (value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  const kept = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  node.append(...kept.map((child) => (child instanceof Node ? child : visible(child))));
  return node;
}

const count = (number) => Number(number ?? 0).toLocaleString("en");
const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;
const short = (text) => (text.length > CELL_CHARS ? `${text.slice(0, CELL_CHARS)}…` : text);
/// Categories are ours, but a newer server may know more of them.
const colour = (category) => `category c-${category in CATEGORIES ? category : "other"}`;
const rank = (category) => (ORDER.indexOf(category) + ORDER.length + 1) % (ORDER.length + 1);
const badge = (category) => el("span", { class: `badge ${colour(category)}`, title: CATEGORIES[category]?.[0] }, category);

/// `16 Nov 08:00:25`. UTC everywhere, as in queries and documents.
function when(time, { seconds = true, day = true } = {}) {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return String(time ?? "");
  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const year = date.getUTCFullYear() === new Date().getUTCFullYear() ? "" : ` ${date.getUTCFullYear()}`;
  const front = day ? `${date.getUTCDate()} ${months[date.getUTCMonth()]}${year} ` : "";
  return front + date.toISOString().slice(11, seconds ? 19 : 16);
}

// The query --------------------------------------------------------------------------

/// Stands for a gap at the top level while a query is taken apart.
const GAP = "\0";
/// Quoted text, single brackets, gaps, and what is between them.
const TOKENS = /"(?:\\.|[^"\\])*"?|[()[\]{}]|\s+|(?:\\.|[^\s"()[\]{}])+/gs;

/// The parts that `AND` joins at the top level. A query that is joined otherwise is one
/// part, put in brackets so that more can be added behind it.
function clauses(query) {
  const parts = [""];
  let depth = 0;
  for (const token of query.trim().match(TOKENS) ?? []) {
    if (")]}".includes(token)) depth--;
    if (depth === 0 && token === "AND") parts.push("");
    else parts[parts.length - 1] += depth === 0 && /^\s/.test(token) ? GAP : token;
    if ("([{".includes(token)) depth++;
  }
  const trimmed = parts.map((part) => part.replace(/^\0|\0$/g, "")).filter(Boolean);
  if (trimmed.some((part) => part.replace(/^NOT\0/, "").includes(GAP))) return [`(${query.trim()})`];
  return trimmed.map((part) => part.replaceAll(GAP, " "));
}

const clause = (field, value) =>
  typeof value === "string" ? `${field}:"${value.replace(/["\\]/g, "\\$&")}"` : `${field}:${value}`;
const has = (part) => clauses(state.query).includes(part);

function toggle(part) {
  const parts = clauses(state.query);
  search((parts.includes(part) ? parts.filter((other) => other !== part) : [...parts, part]).join(" AND "));
}

const isZoom = (part) => part.startsWith("@timestamp:[");
const withoutZoom = () => clauses(state.query).filter((part) => !isZoom(part));

/// Both ends are part of the range.
function zoom(from, until) {
  const range = `@timestamp:[${new Date(from).toISOString()} TO ${new Date(until).toISOString()}]`;
  search([...withoutZoom(), range].join(" AND "));
}

// The address ------------------------------------------------------------------------

function address(query, id) {
  const parts = new URLSearchParams();
  if (query) parts.set("q", query);
  if (id) parts.set("event", id);
  return `${location.pathname}#${parts}`;
}

/// A new query is a new entry in the history.
function search(query) {
  if (query !== state.query) {
    closeDetails();
    history.pushState(null, "", address(query));
  }
  readAddress();
}

/// Takes the query, and the event that is open, from the address.
function readAddress() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const query = parts.get("q") ?? "";
  if (query !== state.query) Object.assign(state, { query, events: [], pages: 0, waiting: null, cursor: null });
  state.refused = null;
  $("query").value = query;
  drawFilters();
  refresh();
  const id = parts.get("event");
  if (!id) closeDetails();
  else if (id !== state.open?.event?.id) openLinked(id);
}

// Asking the server ------------------------------------------------------------------

class Refused extends Error {}

async function api(path, signal) {
  const response = await fetch(path, { signal, headers: { accept: "application/json" } });
  if (response.ok) return response.json();
  const { error } = await response.json().catch(() => ({}));
  if (response.status === 400) throw new Refused(error ?? "the server refused the query");
  throw new Error(error ?? `the server answered ${response.status}`);
}

let timer = 0;
let running = null;

/// Runs one request round at a time: a new one ends the old one. Then the clock for the
/// next poll starts, so a slow server is not asked twice at once.
async function ask(work) {
  clearTimeout(timer);
  running?.abort();
  const mine = new AbortController();
  running = mine;
  const deadline = setTimeout(() => mine.abort(new Error("no answer for 10 seconds")), TIMEOUT_MS);
  try {
    await work(mine.signal);
    if (running === mine) reached();
  } catch (error) {
    if (running === mine) failed(error);
  } finally {
    clearTimeout(deadline);
    if (running === mine) {
      running = null;
      if (state.live && !document.hidden) timer = setTimeout(refresh, POLL_MS);
    }
  }
}

const refresh = () => ask(load);

async function load(signal) {
  const q = encodeURIComponent(state.query.trim());
  const asked = [api("/api/status", signal), api(`/api/incidents?limit=${INCIDENTS}`, signal)];
  if (state.refused === null) asked.push(api(`/api/events?q=${q}&limit=${PAGE}`, signal), api(`/api/stats?q=${q}`, signal));
  const [status, incidents, page, stats] = await Promise.all(asked);
  if (signal.aborted) return;
  state.status = status;
  tell(state.incidents, incidents);
  state.incidents = incidents;
  if (page) {
    state.stats = stats;
    take(page);
  }
  draw();
}

/// A first page replaces the table, unless somebody reads there.
function take(page) {
  const same = page.total === state.total && page.events[0]?.event?.id === state.events[0]?.event?.id;
  if (state.pages > 0 && same) state.waiting = null;
  else if (held()) state.waiting = page;
  else adopt(page);
}

function adopt(page) {
  Object.assign(state, { events: page.events, total: page.total, next: page.next, pages: 1, waiting: null });
  drawRows();
}

/// Rows must not move under a pointer, below somebody who scrolled on, or behind open details.
function held() {
  const rows = $("rows");
  return state.events.length > 0 && (state.pages > 1 || state.open || rows.matches(":hover") || rows.contains(document.activeElement));
}

function more() {
  if (!state.next) return Promise.resolve();
  return ask(async (signal) => {
    const q = encodeURIComponent(state.query.trim());
    const page = await api(`/api/events?q=${q}&limit=${PAGE}&before=${encodeURIComponent(state.next)}`, signal);
    if (signal.aborted) return;
    state.events = state.events.concat(page.events);
    state.next = page.next;
    state.pages++;
    drawRows();
  });
}

function reached() {
  state.answered = Date.now();
  $("banner").hidden = true;
  $("query-error").hidden = state.refused === null;
  $("results").classList.toggle("stale", state.refused !== null);
  drawLive("is-live", "Live");
}

function failed(error) {
  if (error instanceof Refused) {
    $("results").classList.add("stale");
    state.refused = state.query;
    $("query-error").textContent = visible(error.message);
    $("query-error").hidden = false;
    return;
  }
  const gone = error instanceof TypeError || error.name === "AbortError";
  const what = gone ? `2SeC at ${location.host} does not answer. Is twosec still running?` : `2SeC cannot answer: ${error.message}.`;
  const old = state.answered ? ` What you see is from ${when(state.answered)} UTC.` : "";
  const text = visible(`${what}${old}${state.live ? " Trying again every 2 seconds." : ""}`);
  // An unchanged alert is not said again, or a screen reader would repeat it every two seconds.
  if ($("banner").textContent !== text) $("banner").textContent = text;
  $("banner").hidden = false;
  drawLive("is-gone", "No answer");
}

// Drawing ----------------------------------------------------------------------------

function draw() {
  const empty = state.status.lines === 0;
  $("start").hidden = !empty;
  $("results").hidden = empty || !state.stats;
  drawMeters();
  drawFooter();
  drawIncidents({ isPoll: true });
  if (empty) drawStart();
  if (!state.stats || empty) return;
  drawSummary();
  drawChips();
  drawTimeline();
  drawTops();
  drawNewer();
}

function drawLive(kind, text) {
  $("live").className = state.live ? kind : "";
  $("live").setAttribute("aria-pressed", state.live);
  $("live-text").textContent = state.live ? text : "Paused";
}

function drawMeters() {
  const { lines, lines_per_second: speed, indexed, files } = state.status;
  const size = files.reduce((sum, file) => sum + file.size, 0);
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  const share = size > bytes ? Math.floor((100 * bytes) / size) : 100;
  const meters = [["lines/s", count(speed < 10 ? Math.round(speed * 10) / 10 : Math.round(speed))], ["lines", count(lines)], ["indexed", count(indexed)]];
  if (share < 100) meters.push(["read", `${share} %`]);
  $("meters").replaceChildren(...meters.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function drawFooter() {
  const { files, archive, index, version } = state.status;
  $("files").replaceChildren(...files.map((file) => el("li", {},
    el("code", { class: "raw" }, file.path),
    el("progress", { max: file.size || 1, value: file.size ? file.bytes : 1, "aria-label": "read" }),
    `${plural(file.lines, "line", "lines")}, ${count(file.bytes)} of ${count(file.size)} bytes`)));
  $("about").replaceChildren(`2SeC ${version}. Archive: `, el("code", {}, archive ?? "none"), ", index: ", el("code", {}, index ?? "none"));
}

function drawStart() {
  const { files } = state.status;
  const text = files.length === 0
    ? ["2SeC reads no file yet.", "Start it with the log of your server: ", el("code", {}, "twosec /var/log/apache2/access.log")]
    : ["Waiting for the first line.", `2SeC follows ${files.map((file) => file.path).join(", ")}. Make a request to the server, and it shows up here: `, el("code", {}, "curl http://localhost/")];
  $("start").replaceChildren(el("p", {}, el("strong", {}, text[0])), el("p", {}, ...text.slice(1)));
}

/// What the query already says, shown on the buttons that say the same.
function drawFilters() {
  $("only-attacks").setAttribute("aria-pressed", has(ALERTS));
  $("only-served").setAttribute("aria-pressed", has(SERVED));
  $("unzoom").hidden = !clauses(state.query).some(isZoom);
  $("clear").hidden = state.query === "";
  drawIncidents();
}

function drawSummary() {
  const { total, attacks, from, to, unparsed, served } = state.stats;
  const parts = [el("strong", { class: attacks ? "attacks" : "" }, plural(attacks, "attack", "attacks")), " in ", el("strong", {}, plural(total, "request", "requests"))];
  if (total === 0) parts.splice(0, parts.length, "Nothing matches");
  if (total && from && to) {
    const oneDay = String(from).slice(0, 10) === String(to).slice(0, 10);
    parts.push(`, ${when(from)} to ${when(to, { day: !oneDay })} UTC`);
  }
  parts.push(".");
  if (served !== undefined && attacks) parts.push(" ", linkTo(`${count(served)} answered with success`, SERVED, ALERTS), ".");
  if (unparsed) parts.push(" ", linkTo(plural(unparsed, "line", "lines"), "event.kind:pipeline_error"), " could not be read.");
  $("summary").replaceChildren(...parts);
}

/// A link in a sentence that narrows the query down to `wanted`.
function linkTo(text, ...wanted) {
  const narrow = () => search([...new Set([...clauses(state.query), ...wanted])].join(" AND "));
  return el("button", { class: "link", type: "button", onclick: narrow }, text);
}

function drawChips() {
  const chips = state.stats.categories.map(({ key, count: events }) => {
    const part = `attack.categories:${key}`;
    const [name, meaning] = CATEGORIES[key] ?? [key, "is new to this page"];
    return el("button", { class: `chip ${colour(key)}`, type: "button", "data-key": key, "aria-pressed": has(part), title: `${name}: ${meaning}`, onclick: () => toggle(part) }, key, " ", el("b", {}, count(events)));
  });
  replaceKeepingFocus($("chips"), chips);
}

function drawTops() {
  const { total, attacks, sources, paths, statuses } = state.stats;
  $("tops").hidden = total === 0;
  $("sources-title").textContent = attacks ? "Attacking addresses" : "Addresses";
  const figure = ({ attacks, count: all }) => [el("b", {}, count(attacks)), ` / ${count(all)}`];
  drawTop($("sources"), sources, (top) => [top.key, clause("source.address", top.key), figure(top)]);
  drawTop($("paths"), paths, (top) => [top.key, clause("url.path", top.key), el("b", {}, count(top.count))]);
  drawTop($("statuses"), statuses, (top) => [`${top.key} ${STATUS_TEXT[top.key] ?? ""}`, `http.response.status_code:${top.key}`, el("b", {}, count(top.count))]);
}

function drawTop(list, tops, describe) {
  const most = Math.max(1, ...tops.map((top) => top.count));
  const items = tops.slice(0, 10).map((top) => {
    const [label, part, figure] = describe(top);
    const all = el("i", {});
    const hot = el("i", { class: "hot" });
    all.style.width = `${(100 * top.count) / most}%`;
    hot.style.width = `${(100 * (top.attacks ?? 0)) / most}%`;
    return el("li", { "data-key": top.key }, el("button", { type: "button", "aria-pressed": has(part), title: visible(short(label)), onclick: () => toggle(part) },
      el("span", { class: "label raw" }, short(label)), el("span", { class: "figure" }, figure), el("span", { class: "amount" }, all, hot)));
  });
  replaceKeepingFocus(list, items.length ? items : [el("li", { class: "empty" }, "Nothing here.")]);
}

/// Lists are drawn anew with each poll; who tabs through them keeps the place.
function replaceKeepingFocus(list, items) {
  const focused = list.contains(document.activeElement) ? document.activeElement.closest("[data-key]")?.dataset.key : undefined;
  list.replaceChildren(...items);
  if (focused !== undefined) focusKey(list, focused);
}

/// False where nothing has this key any more.
function focusKey(list, key) {
  const again = [...list.querySelectorAll("[data-key]")].find((item) => item.dataset.key === key);
  if (again) (again.matches("button") ? again : again.querySelector("button")).focus({ preventScroll: true });
  return Boolean(again);
}

// The incidents ----------------------------------------------------------------------

const incidentId = (doc) => doc.event.id;
const succeeded = (doc) => doc.attack.outcome === SUCCESS;

/// Those that may have worked first, then those whose actors were seen last.
function ranked(incidents) {
  return [...incidents].sort((a, b) => succeeded(b) - succeeded(a));
}

/// Says to a screen reader what is new. Nothing is new on a page that was just opened.
function tell(before, { incidents }) {
  if (!before) return;
  const known = new Map(before.incidents.map((doc) => [incidentId(doc), succeeded(doc)]));
  const news = incidents.filter((doc) => !known.has(incidentId(doc)) || (succeeded(doc) && !known.get(incidentId(doc))));
  if (!news.length) return;
  const bad = news.filter(succeeded).length;
  const text = news.length === 1 ? `Incident: ${news[0].message}` : `${count(news.length)} incidents${bad ? `, ${count(bad)} likely succeeded` : ""}`;
  $("news").textContent = visible(short(text));
}

/// An incident that is not over yet may go on: its time has no end. A network stands for
/// the addresses in it.
function clausesOf(doc) {
  const until = doc.twosec.incident.is_over ? doc.event.end : "*";
  return [clause("source.ip", doc.source.address), `@timestamp:[${doc.event.start} TO ${until}]`];
}

/// Whether the query asks for this incident. Its end is left out, which moves.
function isSelected(doc) {
  return has(clausesOf(doc)[0]) && clauses(state.query).some((part) => part.startsWith(`@timestamp:[${doc.event.start} TO `));
}

function select(doc) {
  const [actor] = clausesOf(doc);
  const rest = clauses(state.query).filter((part) => part !== actor && !isZoom(part));
  search((isSelected(doc) ? rest : clausesOf(doc)).join(" AND "));
}

/// What the list shows now: it is drawn anew only when that changes.
let drawnIncidents = null;

/// Rows do not move under a mouse because of a poll.
function drawIncidents({ isPoll = false } = {}) {
  if (!state.incidents || !state.status) return;
  const { total, incidents } = state.incidents;
  const all = ranked(incidents);
  const latest = incidents.slice(0, INCIDENTS_LATEST);
  const first = all.filter((doc, place) => place < INCIDENTS_FIRST || latest.includes(doc) || isSelected(doc));
  const shown = state.allIncidents ? all : first;
  const bad = all.filter(succeeded).length;
  $("incidents-card").hidden = state.status.lines === 0 && total === 0;
  $("incidents-total").textContent = count(total);
  $("incidents-order").replaceChildren(...(bad ? [el("strong", { class: "bad" }, `${count(bad)} likely succeeded`), bad < all.length && ", shown first; then the latest"].filter(Boolean) : []));
  $("more-incidents").hidden = first.length === all.length;
  $("more-incidents").setAttribute("aria-expanded", state.allIncidents);
  const every = total > all.length ? [`Show the latest ${count(all.length)}; `, el("code", {}, "twosec incidents"), ` shows all ${count(total)}`] : [`Show all ${count(total)}`];
  $("more-incidents").replaceChildren(...(state.allIncidents ? ["Show fewer"] : every));
  const list = $("incidents");
  const looks = JSON.stringify(shown.map((doc) => [incidentId(doc), doc.twosec.incident.revision, isSelected(doc) && state.query, goesOn(doc)]));
  const isHeld = isPoll && list.matches(":hover") && matchMedia("(hover: hover)").matches;
  if (looks === drawnIncidents || isHeld) return;
  drawnIncidents = looks;
  replaceKeepingFocus(list, shown.length ? shown.map(incident) : [el("li", { class: "empty" }, "No incident so far.")]);
}

const GOES_ON_MS = 30 * 60e3;
const goesOn = (doc) => !doc.twosec.incident.is_over && Date.now() - new Date(doc.event.end) < GOES_ON_MS;

function incident(doc) {
  const { attack, source, twosec: { incident: about } } = doc;
  const id = incidentId(doc);
  const open = isSelected(doc);
  const [sign, outcome, meaning] = OUTCOMES[attack.outcome] ?? ["?", attack.outcome, ""];
  const where = [source.geo?.country_name, source.as?.organization?.name].filter(Boolean).join(", ");
  return el("li", { "data-key": id, class: `incident severity-${attack.severity} outcome-${attack.outcome}${open ? " open" : ""}` },
    el("div", { class: "head" },
      el("h3", {}, el("button", { type: "button", "data-key": `${id}/actor`, "aria-expanded": open, "aria-controls": open ? `incident-${id}` : null, "aria-describedby": `outcome-${id} span-${id}`, title: open ? "Show all events again" : "Show only the events of this incident", onclick: () => select(doc) }, el("span", { class: "raw mono" }, source.address))),
      el("span", { class: "outcome", id: `outcome-${id}`, title: meaning }, el("span", { "aria-hidden": "true" }, sign), ` ${outcome}`),
      where && el("span", { class: "where raw" }, short(where)),
      el("span", { class: "span", id: `span-${id}` }, spanOf(doc)),
      el("span", { class: "weight", title: `Score ${attack.score} of 100, ${attack.severity} severity` }, el("span", { class: "unseen" }, "score "), el("b", {}, attack.score), ` ${attack.severity}`),
      el("p", { class: "what" },
        el("span", { class: "phases", title: "How far the actor came" }, about.phases.join(" › ")),
        attack.categories.map((category) => el("span", { class: `badge ${colour(category)}`, title: CATEGORIES[category]?.[0] }, category, " ", el("b", {}, about.categories[category] ?? ""))),
        el("span", { class: "requests" }, ` in ${plural(about.requests, "request", "requests")}`)),
      attack.outcome_reason && el("p", { class: "why sentence" }, `${attack.outcome_reason}.`)),
    open && el("div", { class: "more", id: `incident-${id}` }, moreOf(doc)));
}

/// From when to when, and for how long.
function spanOf(doc) {
  const { start, end } = doc.event;
  const oneDay = start.slice(0, 10) === end.slice(0, 10);
  const seconds = Math.round((new Date(end) - new Date(start)) / 1000);
  const times = seconds ? `${when(start)} to ${when(end, { day: !oneDay })}` : when(start);
  return [times, seconds >= 1 && ` (${lasting(seconds)})`, goesOn(doc) && el("b", { class: "goes-on" }, " goes on")];
}

function lasting(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  const [[name, size], next] = [units[first], units[first + 1]];
  const rest = next ? Math.floor((seconds % size) / next[1]) : 0;
  return `${Math.floor(seconds / size)} ${name}${rest ? ` ${rest} ${next[0]}` : ""}`;
}

function moreOf(doc) {
  const { behaviour = [], targets = [], user_agents: agents = [], evidence = [] } = doc.twosec.incident;
  const id = incidentId(doc);
  const path = (target) => el("li", { class: "raw mono" }, isCut(target) ? target : el("button", { class: "link", type: "button", "data-key": `${id}/path/${target}`, title: "Only requests for this path", "aria-pressed": has(clause("url.path", target)), onclick: () => toggle(clause("url.path", target)) }, target));
  const part = (title, items, each) => items.length > 0 && el("div", { class: "part" }, el("h4", {}, title), el("ul", {}, items.map(each)));
  return [
    el("p", { class: "go" }, el("button", { class: "link", type: "button", "data-key": `${id}/events`, onclick: showEvents }, "Go to its events")),
    el("div", {}, part("Evidence", evidence, (found) => evidenceOf(id, found))),
    el("div", {},
      part("What no single line shows", behaviour, (sentence) => el("li", { class: "sentence" }, `${sentence}.`)),
      part("Targets", targets, path),
      part("User agents", agents, (agent) => el("li", { class: "raw mono" }, agent))),
  ];
}

/// Incidents keep the beginning of a long path, which finds nothing.
const isCut = (path) => new TextEncoder().encode(path).length >= PATH_BYTES - 3;

function evidenceOf(id, found) {
  const key = `${id}/event/${found.rule}`;
  const place = found.parameter === undefined ? [] : [", parameter ", el("code", { class: "raw" }, short(found.parameter) || "(no name)")];
  return el("li", { class: `finding ${colour(found.category)}` },
    el("p", { class: "meta" }, badge(found.category), " ", el("code", {}, found.rule), " in ", el("code", {}, found.field), ...place, `, score ${found.score}. `,
      el("button", { class: "link", type: "button", "data-key": key, onclick: () => { state.back = key; openLinked(found.event); } }, "Open the event")),
    el("code", { class: "quote raw" }, found.excerpt));
}

function showEvents() {
  $("events-title").scrollIntoView({ block: "start" });
  focusRow(0);
}

// The timeline -----------------------------------------------------------------------

const MARGIN = { top: 8, right: 6, bottom: 26, left: 36 };
let plot = null;
let drag = null;

function drawTimeline() {
  const box = $("timeline");
  const { buckets, interval_ms: interval } = state.stats.timeline;
  if (drag) return;
  plot = null;
  const quiet = !buckets.some((bucket) => sum(bucket.categories) > 0);
  $("over-time").hidden = quiet && state.stats.total === 0;
  box.classList.toggle("quiet", quiet);
  if (quiet) {
    const what = state.stats.total === 1 ? "this request" : `these ${count(state.stats.total)} requests`;
    box.replaceChildren(el("p", { class: "empty" }, `No attack in ${what}.`));
    return;
  }
  plot = measure(box, buckets, interval);
  const svg = el("svg", { "aria-hidden": "true" }, grid(plot), axis(plot), buckets.map((bucket) => column(plot, bucket)));
  box.replaceChildren(svg);
  if (state.cursor !== null) showCursor(state.cursor);
}

/// The scales: time to x, attacks to y.
function measure(box, buckets, interval) {
  const width = Math.max(200, box.clientWidth);
  const height = box.clientHeight;
  const from = buckets[0].time;
  const slots = Math.round((buckets.at(-1).time - from) / interval) + 1;
  const most = Math.max(...buckets.map((bucket) => sum(bucket.categories)));
  const slot = (width - MARGIN.left - MARGIN.right) / slots;
  const step = nice(most / 3);
  const top = Math.max(1, Math.ceil(most / step)) * step;
  const bottom = height - MARGIN.bottom;
  return {
    width, height, bottom, from, interval, slots, slot, step, top, buckets,
    busiest: Math.max(1, ...buckets.map((bucket) => bucket.total)),
    x: (time) => MARGIN.left + ((time - from) / interval) * slot,
    y: (attacks) => bottom - (attacks / top) * (bottom - MARGIN.top),
  };
}

const sum = (categories) => Object.values(categories).reduce((all, one) => all + one, 0);

/// The next of 1, 2, 5, 10, 20, 50, ...
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, value)));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= value);
}

function grid({ width, step, top, y }) {
  const lines = [];
  for (let attacks = 0; attacks <= top; attacks += step) {
    lines.push(el("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: Math.round(y(attacks)) + 0.5, y2: Math.round(y(attacks)) + 0.5 }));
    lines.push(el("text", { x: MARGIN.left - 7, y: y(attacks) + 4, "text-anchor": "end" }, count(attacks)));
  }
  return lines;
}

const MINUTE = 60e3;
const STEPS = [1e3, 5e3, 15e3, 30e3, ...[1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10080, 43200, 129600, 525600].map((minutes) => minutes * MINUTE)];

function axis({ width, height, from, interval, slots, x }) {
  const until = from + slots * interval;
  const room = Math.max(2, Math.floor(width / 110));
  const step = STEPS.find((candidate) => (until - from) / candidate <= room) ?? (until - from) / room;
  const style = step >= 1440 * MINUTE ? (time) => when(time).slice(0, -9)
    : (time) => when(time, { seconds: step < MINUTE, day: time % (1440 * MINUTE) === 0 });
  const labels = [];
  for (let time = Math.ceil(from / step) * step; time < until; time += step) {
    const at = x(time);
    if (at < width - 30) labels.push(el("text", { x: at, y: height - 5, "text-anchor": at < 60 ? "start" : "middle" }, style(time)));
  }
  return labels;
}

/// One bucket: the attacks stacked, and below the axis a strip whose strength is all
/// traffic, so that quiet and missing times can be told apart.
function column({ x, y, slot, bottom, busiest }, bucket) {
  const wide = Math.max(1, Math.min(48, slot - (slot > 4 ? 1 : 0)));
  const left = x(bucket.time) + Math.max(0, slot - wide) / 2;
  let reached = 0;
  const stack = Object.entries(bucket.categories).sort(([a], [b]) => rank(a) - rank(b)).map(([category, attacks]) => {
    const low = y(reached);
    reached += attacks;
    const tall = low - y(reached);
    return el("rect", { class: `part ${colour(category)}`, x: left, y: y(reached), width: wide, height: Math.max(0.5, tall > 4 ? tall - 1 : tall) });
  });
  const strip = el("rect", { class: "traffic", x: left, y: bottom + 3, width: wide, height: 4, opacity: bucket.total ? 0.15 + 0.7 * (bucket.total / busiest) : 0 });
  return [...stack, strip];
}

/// The bucket time at a pointer; times without a bucket have one in thought.
function timeAt(event) {
  const x = event.clientX - $("timeline").getBoundingClientRect().left - MARGIN.left;
  const slot = Math.max(0, Math.min(plot.slots - 1, Math.floor(x / plot.slot)));
  return plot.from + slot * plot.interval;
}

function showCursor(time) {
  hideCursor();
  if (!plot || time < plot.from || time >= plot.from + plot.slots * plot.interval) return;
  state.cursor = time;
  const [low, high] = drag ? [Math.min(drag.from, time), Math.max(drag.from, time)] : [time, time];
  $("timeline").firstChild.append(el("rect", { class: drag ? "cursor range" : "cursor", x: plot.x(low), y: MARGIN.top, width: Math.max(2, plot.x(high) - plot.x(low) + plot.slot), height: plot.bottom - MARGIN.top }));
  const tip = tipFor(low, high + plot.interval);
  $("timeline").append(tip);
  const right = plot.x(high) + plot.slot + 10;
  tip.style.left = `${Math.max(0, right + tip.offsetWidth > plot.width ? plot.x(low) - tip.offsetWidth - 10 : right)}px`;
}

function tipFor(from, until) {
  const inside = plot.buckets.filter((bucket) => bucket.time >= from && bucket.time < until);
  const totals = {};
  for (const [category, attacks] of inside.flatMap((bucket) => Object.entries(bucket.categories))) totals[category] = (totals[category] ?? 0) + attacks;
  const sorted = Object.entries(totals).sort(([, a], [, b]) => b - a);
  const seconds = plot.interval < MINUTE;
  return el("div", { class: "tip", "aria-live": "polite" },
    el("strong", {}, `${when(from, { seconds })} to ${when(until, { seconds, day: false })}`),
    el("p", {}, plural(inside.reduce((all, bucket) => all + bucket.total, 0), "request", "requests")),
    el("ul", {}, sorted.slice(0, 9).map(([category, attacks]) => el("li", { class: colour(category) }, category, el("b", {}, count(attacks))))),
    sorted.length > 9 && el("p", {}, `and ${sorted.length - 9} more kinds`));
}

function hideCursor() {
  document.querySelectorAll("#timeline .cursor, #timeline .tip").forEach((node) => node.remove());
  state.cursor = null;
}

function listenToTimeline() {
  const box = $("timeline");
  box.addEventListener("pointerdown", (event) => {
    if (!plot || event.button !== 0) return;
    const mouse = event.pointerType === "mouse";
    // A finger cannot hover: its first touch shows the numbers, the second zooms.
    drag = { from: timeAt(event), zooms: mouse || state.cursor === timeAt(event) };
    if (mouse) box.setPointerCapture(event.pointerId);
  });
  box.addEventListener("pointermove", (event) => plot && showCursor(timeAt(event)));
  box.addEventListener("pointerup", (event) => {
    if (!drag) return;
    const [from, until] = [drag.from, timeAt(event)].sort((a, b) => a - b);
    const { zooms } = drag;
    drag = null;
    if (zooms || from !== until) zoom(from, until + plot.interval - 1);
    else showCursor(from);
  });
  box.addEventListener("pointercancel", () => { drag = null; hideCursor(); });
  box.addEventListener("pointerleave", (event) => { if (!drag && event.pointerType === "mouse") hideCursor(); });
  box.addEventListener("blur", hideCursor);
  box.addEventListener("keydown", (event) => {
    if (!plot) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      const last = plot.from + (plot.slots - 1) * plot.interval;
      showCursor(state.cursor === null ? last : Math.min(last, Math.max(plot.from, state.cursor + step * plot.interval)));
    } else if (event.key === "Enter" && state.cursor !== null) zoom(state.cursor, state.cursor + plot.interval - 1);
    else return;
    event.preventDefault();
  });
  new ResizeObserver(() => state.stats && state.answered && drawTimeline()).observe(box);
}

// The table --------------------------------------------------------------------------

function drawRows() {
  const rows = state.events.map(row);
  $("rows").replaceChildren(...rows);
  if (rows.length) rows[Math.max(0, openIndex())].tabIndex = 0;
  $("total").textContent = count(state.total);
  $("more").hidden = !state.next;
  $("nothing").hidden = rows.length > 0;
  if (!rows.length) drawNothing();
  drawNewer();
}

/// Those who only look around are answered with success all day; that says nothing.
const mayHaveWorked = ({ attack, http }) => Boolean(attack) && attack.severity !== "low" && http?.response?.status_code < 400;

function row(doc) {
  const { attack, http, error } = doc;
  const status = http?.response?.status_code;
  const served = mayHaveWorked(doc);
  const kind = [attack && `attack severity-${attack.severity}`, error && "odd", doc.event.id === state.open?.event?.id && "open"];
  const target = doc.url?.original ?? doc.event.original;
  const source = doc.source?.address ?? "";
  const categories = attack?.categories ?? [];
  return el("tr", { class: kind.filter(Boolean).join(" "), tabindex: -1, onclick: () => { state.back = null; openEvent(doc); } },
    el("td", { title: doc["@timestamp"] }, when(doc["@timestamp"])),
    el("td", { class: "raw mono", title: visible(short(source)) }, short(source)),
    el("td", {}, short(http?.request?.method ?? "")),
    el("td", { title: STATUS_TEXT[status] }, el("span", { class: served ? "served" : "", title: served ? "The server answered this attack with success" : null }, status ?? "")),
    el("td", { class: "target raw mono", title: error ? visible(error.message) : null }, short(target)),
    el("td", { class: "badges" }, categories.slice(0, 3).map(badge), categories.length > 3 && ` +${categories.length - 3}`),
    el("td", { class: "score" }, attack?.score ?? ""));
}

function drawNothing() {
  const parts = clauses(state.query);
  const remove = (part) => el("p", {}, "without ", el("button", { class: "link raw mono", type: "button", onclick: () => toggle(part) }, short(part)));
  $("nothing").replaceChildren(el("p", {}, "No event matches. Try the query"),
    ...(parts.length > 1 ? parts.map(remove) : []), el("p", {}, el("button", { class: "link", type: "button", onclick: () => search("") }, "Show everything")));
  if (parts.length < 2) $("nothing").firstChild.textContent = "No event matches.";
}

function drawNewer() {
  const newer = state.waiting ? state.waiting.total - state.total : 0;
  $("newer").hidden = !state.waiting;
  $("newer").textContent = newer > 0 ? `Show ${count(newer)} newer` : "Show the newest";
}

function focusRow(index) {
  const rows = [...$("rows").children];
  if (!rows[index]) return;
  for (const other of rows) other.tabIndex = -1;
  rows[index].tabIndex = 0;
  if (!state.open) rows[index].focus();
  rows[index].scrollIntoView({ block: "nearest" });
}

// The details ------------------------------------------------------------------------

const openIndex = () => state.events.findIndex((doc) => doc.event.id === state.open?.event?.id);

async function openLinked(id) {
  const known = state.events.find((doc) => doc.event.id === id);
  try {
    openEvent(known ?? await api(`/api/event/${encodeURIComponent(id)}`));
  } catch (error) {
    $("details").replaceChildren(el("div", { class: "head" }, el("div", { class: "bar" }, el("strong", {}, "This event is not here"), step("✕", "Close (Esc)", closeDetails))),
      el("section", {}, el("p", {}, `It may be in the archive, or on another host: ${error.message}.`)));
    $("details").hidden = false;
  }
}

function openEvent(doc) {
  state.open = doc;
  history.replaceState(null, "", address(state.query, doc.event.id));
  const panel = $("details");
  panel.replaceChildren(...detailsOf(doc));
  panel.hidden = false;
  panel.scrollTop = 0;
  panel.focus({ preventScroll: true });
  // On a phone the panel covers all; nobody should tab through what is behind it.
  $("page").inert = matchMedia("(max-width: 760px)").matches;
  markOpen();
}

function closeDetails() {
  if ($("details").hidden) return;
  const index = openIndex();
  state.open = null;
  $("details").hidden = true;
  $("page").inert = false;
  history.replaceState(null, "", address(state.query));
  markOpen();
  if (state.back === null || !focusKey($("incidents"), state.back)) focusRow(index);
  state.back = null;
}

function markOpen() {
  const open = openIndex();
  [...$("rows").children].forEach((row, index) => row.classList.toggle("open", index === open));
}

/// The next or the previous event of the list; past its end, more is loaded.
async function move(by) {
  const rows = [...$("rows").children];
  const at = state.open ? openIndex() : rows.indexOf(document.activeElement);
  const to = at < 0 ? 0 : at + by;
  if (to >= state.events.length) await more();
  if (to < 0 || to >= state.events.length) return;
  state.back = null;
  if (state.open) openEvent(state.events[to]);
  focusRow(to);
}

const step = (text, label, onclick) => el("button", { class: "step", type: "button", "aria-label": label, title: label, onclick }, text);

function detailsOf(doc) {
  const request = `${doc.http?.request?.method ?? ""} ${doc.url?.original ?? doc.event.original}`.trim();
  const head = el("div", { class: "head" },
    el("div", { class: "bar" }, el("span", {}, (doc.attack?.categories ?? []).map(badge), el("span", { class: "meta" }, doc.attack ? `${doc.attack.severity} severity, score ${doc.attack.score}` : "No attack found")),
      step("↑", "Newer (arrow up)", () => move(-1)), step("↓", "Older (arrow down)", () => move(1)), step("✕", "Close (Esc)", closeDetails)),
    el("h2", { class: "raw" }, short(request)));
  const known = knownAs(doc);
  return [head,
    doc.attack && section("What was seen", doc.attack.findings.map(finding)),
    section("What the server answered", answer(doc)),
    section("Request", fields(doc, ["@timestamp", "source", "user", "http", "url", "user_agent"])),
    section(["Original line", copyButton(doc.event.original)], original(doc)),
    known && section("Known as", el("p", {}, known)),
    section("Where it was read, and ids", fields(doc, ["host", "cloud", "container", "log", "agent", "rule.ruleset", "event.id", "event.kind", "event.outcome", "error", "twosec"])),
    section(null, el("details", {}, el("summary", {}, "Whole document (JSON)"), el("code", { class: "quote raw" }, ...lines(JSON.stringify(doc, null, 2))))),
  ].filter(Boolean);
}

const section = (title, ...children) => el("section", {}, title && el("h3", {}, title), ...children);

/// Lines of our own making: between them stand real line breaks, inside them none.
const lines = (text) => text.split("\n").flatMap((line, i) => (i ? [el("br"), line] : [line]));

function finding(found) {
  const [name, meaning] = CATEGORIES[found.category] ?? [found.category, ""];
  const decoded = ["as sent", "after decoding once", "after decoding twice", "after decoding three times"][found.layer] ?? `after decoding ${found.layer} times`;
  const place = found.parameter === undefined ? [] : [", parameter ", el("code", { class: "raw" }, short(found.parameter) || "(no name)")];
  return el("div", { class: `finding ${colour(found.category)}` },
    el("p", {}, el("strong", {}, name), meaning && ` ${meaning}.`, found.about && ` ${found.about}`),
    el("p", { class: "meta" }, "Seen in ", el("code", {}, found.field), ...place, ` ${decoded}. Rule `, el("code", {}, found.rule), `, ${found.confidence} confidence, score ${found.score}.`),
    el("code", { class: "quote raw" }, found.excerpt));
}

/// A status is a hint, not a proof; the text must not say more than the line does.
function answer(doc) {
  const status = doc.http?.response?.status_code;
  if (doc.error) return el("p", { class: "answer" }, `The line could not be read: ${doc.error.message}.`);
  if (status === undefined) return el("p", { class: "answer" }, "The line does not tell.");
  const bytes = doc.http.response.body?.bytes;
  const size = bytes === undefined ? "" : ` and ${plural(bytes, "byte", "bytes")}`;
  const text = `${status} ${STATUS_TEXT[status] ?? ""}`.trim() + size;
  if (!doc.attack) return el("p", { class: "answer" }, `${text}.`);
  const path = doc.url?.path;
  const compare = path && el("button", { class: "link", type: "button", onclick: () => search(clause("url.path", path)) }, "Compare with other requests for this path");
  if (mayHaveWorked(doc)) return el("p", { class: "answer warn" }, el("strong", {}, text), ". The request was served, so the attack may have worked. Whether it did shows in the size of the answer and in what came next. ", compare);
  const what = status < 400 ? "The request was served; it only looks around." : status < 500 ? "The server refused it or had nothing there." : "The server broke on it: the attack reached the application. Look into the error log.";
  return el("p", { class: "answer" }, el("strong", {}, text), `. ${what} `, compare);
}

function knownAs({ threat, attack }) {
  const ids = [...(threat?.technique?.id ?? []).map((id) => `ATT&CK ${id}`), ...(attack?.capec ?? []).map((id) => `CAPEC-${id}`), ...(attack?.cwe ?? []).map((id) => `CWE-${id}`)];
  return ids.join(", ");
}

function original(doc) {
  const cut = doc.twosec?.cut_from && el("p", {}, `The line was cut: it had ${count(doc.twosec.cut_from)} bytes.`);
  return [el("code", { class: "quote raw" }, doc.event.original), cut];
}

/// Copies what was in the log, without the escapes of this page.
function copyButton(text) {
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  };
  const button = el("button", { class: "link", type: "button", onclick: copy }, "Copy");
  return navigator.clipboard ? button : null;
}

/// Each leaf below the named fields, with buttons that put it into the query.
function fields(doc, names) {
  const found = names.flatMap((name) => leaves(name, name in doc ? doc[name] : name.split(".").reduce((value, key) => value?.[key], doc)));
  return el("dl", { class: "fields" }, found.map(([name, value]) => el("div", {},
    el("dt", {}, name), el("dd", { class: "value raw" }, value),
    el("dd", { class: "acts" }, act("+", `Only with this ${name}`, clause(name, value)), act("−", `Without this ${name}`, `NOT ${clause(name, value)}`)))));
}

const act = (sign, label, part) => el("button", { type: "button", title: label, "aria-label": label, onclick: () => toggle(part) }, sign);

function leaves(name, value) {
  if (value === null || value === undefined) return [];
  if (Array.isArray(value)) return value.flatMap((item) => leaves(name, item));
  if (typeof value === "object") return Object.entries(value).flatMap(([key, item]) => leaves(`${name}.${key}`, item));
  return [[name, value]];
}

// Listening --------------------------------------------------------------------------

function keys(event) {
  const typing = event.target.matches("input, textarea, select");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/" && !typing) {
    event.preventDefault();
    closeDetails();
    $("query").select();
  } else if (event.key === "Escape") {
    if (!$("details").hidden) closeDetails();
    else if (typing) event.target.blur();
  } else if (!typing && (event.key === "ArrowDown" || event.key === "ArrowUp") && (state.open || $("rows").contains(event.target))) {
    event.preventDefault();
    move(event.key === "ArrowDown" ? 1 : -1);
  } else if (event.key === "Enter" && event.target.parentNode === $("rows")) event.target.click();
}

function listen() {
  document.addEventListener("keydown", keys);
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : state.live && refresh()));
  addEventListener("hashchange", readAddress);
  for (const example of document.querySelectorAll("#examples button")) example.addEventListener("click", () => search(example.textContent));
  $("search").addEventListener("submit", (event) => { event.preventDefault(); search($("query").value.trim()); });
  $("live").addEventListener("click", () => {
    state.live = !state.live;
    drawLive("is-live", "Live");
    if (state.live) refresh();
    else clearTimeout(timer);
  });
  $("only-attacks").addEventListener("click", () => toggle(ALERTS));
  $("only-served").addEventListener("click", () => toggle(SERVED));
  $("unzoom").addEventListener("click", () => search(withoutZoom().join(" AND ")));
  $("clear").addEventListener("click", () => search(""));
  $("more").addEventListener("click", more);
  $("more-incidents").addEventListener("click", () => { state.allIncidents = !state.allIncidents; drawIncidents(); });
  $("incidents").addEventListener("pointerleave", () => drawIncidents());
  $("newer").addEventListener("click", () => adopt(state.waiting));
  $("rows").addEventListener("pointerleave", () => { if (state.waiting && !held()) adopt(state.waiting); });
  listenToTimeline();
}

listen();
readAddress();
