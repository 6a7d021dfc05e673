// What every page uses: elements made of text and never of HTML, requests, the view in the URL, the counts above.

export const view = new URLSearchParams(location.search);

/** Make an element; children are nodes or texts. */
export function h(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else if (name in made && name !== "list") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((one) => one !== null && one !== undefined && one !== false));
  return made;
}

const main = document.getElementById("main");
const problem = document.getElementById("problem");

export function show(...children) {
  main.replaceChildren(main.querySelector("h1"), ...children.flat().filter(Boolean));
}

export function tell(error) {
  problem.textContent = error ? error.message || String(error) : "";
  problem.hidden = !error;
}

// ---- requests
async function fetched(name, params, signal) {
  const text = params === undefined ? "" : new URLSearchParams(params).toString();
  let answer;
  try {
    answer = await fetch(`api/${name}${text ? `?${text}` : ""}`, { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server does not answer; is `entropic ui` still running?");
  }
  if (!answer.ok) {
    let why = `the server answered with ${answer.status}`;
    try { why = (await answer.json()).error || why; } catch { /* no JSON: the status says it */ }
    if (answer.status === 401) why = "the token is missing: open the address that `entropic ui` printed";
    const error = new Error(why);
    error.status = answer.status;
    throw error;
  }
  return answer;
}

export const ask = async (name, params, signal) => (await fetched(name, params, signal)).json();

/** Return a description, and all the doubles after it. */
export async function askPacked(name, params, signal) {
  const body = await (await fetched(name, params, signal)).arrayBuffer();
  const length = new DataView(body).getUint32(0, true);
  const told = JSON.parse(new TextDecoder().decode(new Uint8Array(body, 4, length)));
  return [told, new Float64Array(body, 4 + length)];
}

const loaded = new Map();
export function load(script) {
  if (!loaded.has(script)) {
    loaded.set(script, new Promise((resolve, reject) => {
      document.head.append(h("script", { src: `static/vendor/${script}`, onload: resolve,
        onerror: () => reject(new Error(`${script} cannot be loaded`)) }));
    }));
  }
  return loaded.get(script);
}

// ---- the view in the URL
export function keep(changes) {
  for (const [name, value] of Object.entries(changes)) {
    if (value === "" || value === null || value === undefined || value === false) view.delete(name);
    else view.set(name, value);
  }
  history.replaceState(null, "", `${location.pathname}${view.size ? `?${view}` : ""}`);
  links();
}

/** Return the filters and the search of the view: what Runs and Explore share. */
export function filters() {
  return [...view].filter(([name, value]) => value && (name === "q" || name === "stale" || name.startsWith("f.")));
}

// ---- values
export function number(value) {
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return String(value);
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(5).replace(/\.?0+e/, "e").replace("e+", "e");
  return String(Number(value.toPrecision(6)));
}

export function text(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number") return number(value);
  if (typeof value === "object") return JSON.stringify(value);
  return String(value);
}

export const short = (id) => (id.length > 12 ? `${id.slice(0, 10)}…` : id);
export const runLink = (id) => h("a", { href: `run?${new URLSearchParams({ id })}`, class: "id", title: id }, short(id));
export const count = (value) => value.toLocaleString("en");

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  while (value >= 1000 && i < units.length - 1) { value /= 1000; i += 1; }
  return `${i ? value.toPrecision(3) : value} ${units[i]}`;
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.001) return `${number(Number((value * 1e6).toPrecision(3)))} µs`;
  if (value < 1) return `${number(Number((value * 1e3).toPrecision(3)))} ms`;
  if (value < 120) return `${number(Number(value.toPrecision(3)))} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  return value < 172800 ? `${(value / 3600).toFixed(1)} h` : `${(value / 86400).toFixed(1)} days`;
}

export const stateChip = (state) => h("span", { class: `chip ${state}` }, state === "again" ? "done, running again" : state);

// ---- colours of the theme
export function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  return { text: of("--text"), quiet: of("--quiet"), line: of("--line"), back: of("--back"), accent: of("--accent") };
}

export const SERIES = ["#2f78c4", "#d95f02", "#1b9e77", "#c2408f", "#7a63c7", "#8a6d00", "#d1495b", "#3a8fa3"];

/** Draw again whatever follows the theme when that changes. */
export function onTheme(draw) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

// ---- above every page
const PAGES = [["./", "Runs", "runs"], ["explore", "Explore", "explore"], ["failures", "Failures", "failures"],
  ["progress", "Progress", "progress"]];

function links() {
  const here = document.body.dataset.page;
  const shared = new URLSearchParams(filters()).toString();
  document.getElementById("nav").replaceChildren(...PAGES.map(([address, title, page]) => h("a", {
    href: address + (shared && (page === "runs" || page === "explore") ? `?${shared}` : ""),
    "aria-current": page === here ? "page" : null,
  }, title)));
}

let version = null;
const listeners = [];
/** Call when something has been stored, has begun or has failed since the last look. */
export const onChange = (listener) => listeners.push(listener);

async function look() {
  const began = performance.now();
  try {
    const found = await ask("counts");
    took = performance.now() - began;
    chips(found);
    if (version !== null && version !== found.version) await Promise.all(listeners.map((one) => one(found)));
    version = found.version;
    if (lost) { lost = false; tell(null); }
  } catch (error) {
    lost = true;
    tell(error);
  }
  again();
}

let lost = false;
let timer = null;
let took = 0; // to count: millions of rows take a part of a second, of which an open page is to cost little
function again() {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(look, lost ? 5000 : Math.max(2000, 10 * took));
}
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : look()));

function chips(found) {
  const made = [["done", "./", found.done], ["running", "progress", found.running], ["failed", "failures", found.failed]];
  if (found.stale) made.push(["stale", "./?stale=1", found.stale]);
  document.getElementById("chips").replaceChildren(...made.map(([name, address, value]) =>
    h("a", { class: `chip ${value ? name : ""}`, href: address }, h("b", {}, count(value)), " ", name)));
}

let schema = null;
export async function about(given = {}) {
  schema ??= ask("schema", given).then((found) => {
    document.getElementById("model").textContent = found.model;
    document.getElementById("model").title = `${found.database}\n${found.results}`;
    return found;
  });
  return schema;
}

/** Begin a page: what it does may fail, and then says so. */
export function begin(page) {
  links();
  look();
  page().catch(tell);
  addEventListener("unhandledrejection", (event) => { if (event.reason?.name !== "AbortError") tell(event.reason); });
}

// ---- tables of names and values
export function pairs(entries) {
  return h("table", { class: "plain" }, h("tbody", {}, entries.map(([name, value]) =>
    h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "value" }, value instanceof Node ? value : text(value))))));
}

export function table(names, rows) {
  return h("div", { class: "scroll", tabIndex: 0 }, h("table", { class: "plain" },
    h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((value) =>
      h("td", { class: typeof value === "number" ? "number" : "value" }, value instanceof Node ? value : text(value))))))));
}

export function tree(value) {
  if (value === null || typeof value !== "object") return document.createTextNode(text(value));
  if (Array.isArray(value) && value.every((one) => one === null || typeof one !== "object")) {
    return document.createTextNode(`[${value.slice(0, 200).map(text).join(", ")}${value.length > 200 ? ", …" : ""}]`);
  }
  return h("dl", { class: "tree" }, Object.entries(value).map(([name, inner]) =>
    h("div", {}, h("dt", {}, name), h("dd", { class: "value" }, tree(inner)))));
}

export async function copy(value, button) {
  await navigator.clipboard.writeText(value);
  const before = button.textContent;
  button.textContent = "copied";
  setTimeout(() => { button.textContent = before; }, 1200);
}
