// The page: the overview of each tick as it comes, and for one container its distributions or its flame graph.
// Names come from others: they are only ever set as text.

const RECORD_SECONDS = 10;
/** Silence after which the daemon counts as gone, unless its ticks are further apart. */
const SILENCE_MS = 5000;
const SILENT_TICKS = 3;

/** States in the order of the bar: a letter, so that no colour is needed. Colours are in style.css. */
const STATES = [
  ["running.user", "U"], ["running.kernel", "K"], ["stolen", "S"], ["runnable", "R"], ["throttled", "T"],
  ["blocked.disk", "D"], ["blocked.fault", "F"], ["blocked.lock", "L"], ["blocked.network", "N"],
  ["blocked.pipe", "P"], ["blocked.other", "O"], ["sleeping", "·"], ["unknown", "?"],
];
const LETTER = new Map(STATES);

const byId = (id) => document.getElementById(id);
const connection = byId("connection");
const body = byId("containers");
const rows = new Map();
let source;
let lastEventAt = 0;
let spanMs = 0;
let recording = 0;

/** An element with text and attributes; text is never read as markup. */
function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** Nanoseconds with three digits and a unit. */
function time(ns) {
  if (ns === null || ns === undefined) return "–";
  for (const [unit, size] of [["s", 1e9], ["ms", 1e6], ["µs", 1e3]]) {
    const digits = Number((ns / size).toPrecision(3));
    if (digits >= 1) return `${digits} ${unit}`;
  }
  return `${ns} ns`;
}

const fixed = (number) => (number === null || number === undefined ? "–" : number.toFixed(2));
const percent = (share) => `${(share * 100).toFixed(1)} %`;
const className = (state) => `state-${(LETTER.has(state) ? state : "unknown").replace(".", "-")}`;

function qualifiedName({ name, pod }) {
  return [pod?.namespace, pod?.name, name].filter(Boolean).join("/");
}

function makeRow(container) {
  const tr = element("tr");
  const name = qualifiedName(container);
  const cells = {
    name: element("th", name, { scope: "row", title: container.id }),
    runtime: element("td"),
    cpu: element("td", undefined, { class: "number" }),
    runqueue: element("td", undefined, { class: "number" }),
    stall: element("td", undefined, { class: "number" }),
    bar: element("td"),
  };
  const bar = element("div", undefined, { class: "bar", role: "img" });
  cells.bar.append(bar);
  const actions = element("td", undefined, { class: "actions" });
  const waits = element("button", "Distributions", { type: "button", "aria-label": `Distributions of ${name}` });
  waits.addEventListener("click", () => showDistributions(container.id, name));
  const flame = element("button", "Flame graph", { type: "button", "aria-label": `Record a flame graph of ${name}` });
  flame.addEventListener("click", () => recordFlameGraph(container.id, name));
  actions.append(waits, flame);
  tr.append(...Object.values(cells), actions);
  return { tr, cells, bar, flame };
}

/** Every state's part of the bar; together 100 %. */
function drawBar(bar, states) {
  const shown = states.filter(({ share }) => share > 0);
  bar.replaceChildren(...shown.map(({ state, share }) => {
    const label = share > 0.04 ? (LETTER.get(state) ?? "?") : "";
    const part = element("span", label, { class: className(state), title: `${state} ${percent(share)}` });
    part.style.flexGrow = String(share);
    return part;
  }));
  const words = shown.map(({ state, share }) => `${state} ${percent(share)}`);
  bar.setAttribute("aria-label", words.join(", ") || "nothing measured");
}

function draw(list) {
  const seen = new Set();
  for (const container of list.containers) {
    const key = `${container.id} ${container.died_at_ns ?? ""}`;
    seen.add(key);
    if (!rows.has(key)) rows.set(key, makeRow(container));
    const { tr, cells, bar, flame } = rows.get(key);
    const activity = container.activity;
    cells.name.textContent = qualifiedName(container);
    cells.runtime.textContent = container.runtime;
    cells.cpu.textContent = fixed(activity?.cpu_cores);
    cells.runqueue.textContent = time(activity?.runqueue?.p99_ns);
    cells.stall.textContent = fixed(activity?.stall);
    drawBar(bar, activity?.states ?? []);
    tr.classList.toggle("dead", !container.alive);
    flame.disabled = !container.alive;
  }
  for (const [key, { tr }] of rows) {
    if (!seen.has(key)) {
      tr.remove();
      rows.delete(key);
    }
  }
  // Rows move only where their order has changed, so that focus and selection stay.
  list.containers.forEach((container, place) => {
    const { tr } = rows.get(`${container.id} ${container.died_at_ns ?? ""}`);
    if (body.children[place] !== tr) body.insertBefore(tr, body.children[place] ?? null);
  });
  byId("empty").hidden = list.containers.length > 0;
  byId("window").textContent = `Over the last ${time(list.span_ns)}.`;
}

function say(state, text) {
  if (connection.textContent !== text) connection.textContent = text;
  document.body.dataset.connection = state;
}

function connect() {
  source?.close();
  source = new EventSource(`/api/v1/stream?all=${byId("all").checked}`);
  lastEventAt = Date.now();
  source.addEventListener("overview", (event) => {
    lastEventAt = Date.now();
    say("live", "live");
    const list = JSON.parse(event.data);
    spanMs = list.span_ns / 1e6;
    draw(list);
  });
  source.addEventListener("error", () => {
    say("lost", "disconnected: the numbers below are old");
    // The browser tries again by itself, unless the daemon refused.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  });
}

function openDetail(title, status) {
  byId("detail-title").textContent = title;
  byId("detail-status").textContent = status;
  byId("detail-body").replaceChildren();
  byId("detail").hidden = false;
  byId("detail").focus();
  recording += 1;
  return recording;
}

async function showDistributions(id, name) {
  const turn = openDetail(`Distributions of ${name}`, "reading the last 10 s");
  const answer = await ask(`/api/v1/containers/${encodeURIComponent(id)}/latency?duration=10s`);
  if (turn !== recording) return;
  if (answer.error) {
    byId("detail-status").textContent = `${answer.error}; ${answer.remedy}`;
    return;
  }
  byId("detail-status").textContent = `over ${time(answer.span_ns)}`;
  byId("detail-body").replaceChildren(...answer.distributions.map(drawDistribution));
  if (answer.distributions.length === 0) byId("detail-status").textContent = "nothing measured: it did not run";
}

async function ask(path) {
  try {
    return await (await fetch(path)).json();
  } catch {
    return { error: "the daemon does not answer", remedy: "see whether cgscope run still runs" };
  }
}

/** Rows per power of two, as `cgscope latency` draws them. */
function drawDistribution(distribution) {
  const figure = element("figure");
  const labels = Object.entries(distribution.labels ?? {}).map(([key, value]) => `${key}=${value}`);
  const title = [distribution.title, ...labels].join(" ");
  const { count, p50_ns, p99_ns, max_ns } = distribution;
  const summary = `${title}: ${count} times, p50 ${time(p50_ns)}, p99 ${time(p99_ns)}, max ${time(max_ns)}`;
  figure.append(element("figcaption", summary, { title: distribution.help }));
  const byPower = new Map();
  for (const bucket of distribution.buckets) {
    const power = bucket.ge_ns === 0 ? 0 : Math.floor(Math.log2(bucket.ge_ns));
    byPower.set(power, (byPower.get(power) ?? 0) + bucket.count);
  }
  const powers = [...byPower.keys()];
  const most = Math.max(...byPower.values());
  const table = element("table", undefined, { class: "histogram" });
  for (let power = Math.min(...powers); power <= Math.max(...powers); power += 1) {
    // Nothing lies between 0 and the second bucket, which begins at 2^10 ns.
    if (power > 0 && power < 10) continue;
    const here = byPower.get(power) ?? 0;
    const bar = element("div", undefined, { class: here > 0 ? "fill" : "empty" });
    bar.style.width = `${(here / most) * 100}%`;
    const cell = element("td", undefined, { class: "wide" });
    cell.append(bar);
    const row = element("tr");
    row.append(element("th", `from ${time(power === 0 ? 0 : 2 ** power)}`, { scope: "row" }), element("td", String(here), { class: "number" }), cell);
    table.append(row);
  }
  if (count > 0) figure.append(table);
  return figure;
}

function recordFlameGraph(id, name) {
  const turn = openDetail(`Flame graph of ${name}`, `recording ${RECORD_SECONDS} s`);
  const path = `/api/v1/flamegraph?container=${encodeURIComponent(id)}&duration=${RECORD_SECONDS}s`;
  const frame = element("iframe", undefined, { title: `Flame graph of ${name}`, sandbox: "allow-scripts", src: path });
  let left = RECORD_SECONDS;
  const timer = setInterval(() => {
    left -= 1;
    if (turn !== recording) clearInterval(timer);
    else byId("detail-status").textContent = left > 0 ? `recording, ${left} s left` : "drawing";
  }, 1000);
  frame.addEventListener("load", () => {
    clearInterval(timer);
    if (turn === recording) byId("detail-status").textContent = `${RECORD_SECONDS} s, on the CPUs`;
  });
  byId("detail-body").replaceChildren(frame);
}

byId("legend").append(...STATES.map(([state, letter]) => {
  const item = element("li");
  item.append(element("span", letter, { class: `swatch ${className(state)}`, "aria-hidden": "true" }), state);
  return item;
}));
byId("all").addEventListener("change", connect);
byId("close").addEventListener("click", () => {
  recording += 1;
  // Taking the frame away ends its recording in the daemon.
  byId("detail-body").replaceChildren();
  byId("detail").hidden = true;
});
setInterval(() => {
  if (Date.now() - lastEventAt > Math.max(SILENCE_MS, SILENT_TICKS * spanMs)) say("lost", "no news: the numbers below are old");
}, 1000);
connect();
