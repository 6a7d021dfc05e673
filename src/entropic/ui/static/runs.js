// Runs: the table. What it shows is asked of the server page by page; the URL holds the whole view.
import { about, ask, begin, count, filters, h, keep, load, onChange, runLink, show, stateChip, tell, text, view } from "./common.js";

const MOST_COMPARED = 6;
const [NARROWEST, NARROWEST_ID, WIDEST] = [84, 130, 260]; // of a column at first
const LEAST = 40; // pixels, which Tabulator gives any column
const ROW = 30; // pixels; as a row is by itself, so that none has to be measured
const picked = new Set((view.get("pick") || "").split(",").filter(Boolean));
let table = null;
let columns = [];
let total = null;
let first = null; // the first page, which is asked for before there is a table

const chosen = () => (view.get("columns") || "").split(",").filter(Boolean);

function query(extra = {}) {
  const made = new URLSearchParams(filters());
  if (view.get("sort")) made.set("sort", view.get("sort"));
  for (const [name, value] of Object.entries(extra)) made.set(name, value);
  return made;
}

const PLACEHOLDERS = { text: "contains", json: "contains", integer: ">1 <9", float: ">0 <1", decimal: ">0 <1",
  datetime: ">2026-01-31", date: ">2026-01-31", duration: ">60", boolean: "true" };

function headerOf(column) {
  const short = column.name.replace(/^custom_data\./, "");
  return () => h("button", { class: "name", type: "button", title: `${column.name} (${column.role}, ${column.kind})` }, short);
}

/** Return how wide columns are at first. Left to Tabulator, all rows would be laid out once more to be measured. */
function widths() {
  if (!first) return () => undefined;
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `13px ${getComputedStyle(document.body).fontFamily}`;
  const wide = (value) => pen.measureText(value).width;
  return (column) => {
    const title = wide(column.name.replace(/^custom_data\./, "")) * 1.1 + 40;
    const widest = first.data.reduce((most, row) => Math.max(most, wide(text(row[column.name]))), 0);
    const least = column.name === "id" ? NARROWEST_ID : NARROWEST;
    return Math.ceil(Math.min(WIDEST, Math.max(least, title, column.name === "id" ? 0 : widest + 20)));
  };
}

function columnsOfTable(shown) {
  const width = widths();
  const made = [{
    field: "_pick", title: "", headerSort: false, width: 36, resizable: false, frozen: innerWidth > 600,
    titleFormatter: () => h("span", { class: "unseen" }, "pick"),
    formatter: (cell) => pickBox(cell.getRow().getData().id),
  }];
  for (const column of columns) {
    const isNumber = column.number && column.kind !== "boolean";
    made.push({
      field: column.name, title: column.name, titleFormatter: headerOf(column), hozAlign: isNumber ? "right" : "left",
      frozen: column.name === "id" && innerWidth > 600, headerFilter: filterBox, headerFilterParams: { column }, headerFilterLiveFilter: false, headerFilterPlaceholder: hint(column),
      minWidth: column.name === "id" ? NARROWEST_ID : NARROWEST, width: width(column), maxInitialWidth: WIDEST, visible: !shown || shown.has(column.name),
      formatter: (cell) => (column.name === "id" ? runLink(cell.getValue()) : document.createTextNode(text(cell.getValue()))),
    });
    if (column.name === "id") {
      made.push({ field: "_state", title: "state", headerSort: false, minWidth: 76,
        titleFormatter: () => h("span", {}, "state"), formatter: (cell) => stateChip(cell.getValue()) });
    }
  }
  return made;
}

/** Show the rows that fit on the screen as they will be, while the table is loaded and built in their place. */
async function preview(made, rows) {
  const shown = made.filter((one) => one.visible !== false);
  const content = (field, row) => {
    if (field === "_pick") return "";
    if (field === "_state") return stateChip(row._state);
    return field === "id" ? runLink(row.id) : text(row[field]);
  };
  const cell = (one, inner, align = one.hozAlign || "left") => h("div", { class: "tabulator-cell",
    style: `width: ${Math.max(LEAST, one.width || one.minWidth)}px; text-align: ${align}` }, inner);
  const line = (row) => h("div", { class: "tabulator-row" }, shown.map((one) => cell(one, content(one.field, row))));
  const head = h("div", { class: "head" }, shown.map((one) => cell(one, one.title.replace(/^custom_data\./, ""), "left")));
  document.getElementById("table").replaceChildren(h("div", { class: "tabulator preview", inert: true }, head,
    rows.slice(0, Math.ceil(innerHeight / ROW)).map(line)));
  await new Promise((done) => { requestAnimationFrame(() => setTimeout(done)); }); // until it is on the screen
}

const hint = (column) => column.choices.join(", ") || (column.name === "id" ? "part of a key" : PLACEHOLDERS[column.kind] || "");

/** Return the box above a column; what is typed or pasted counts a moment after the last change. */
function filterBox(cell, _rendered, success, _cancel, { column }) {
  let waiting = null;
  return h("input", {
    type: "text", value: cell.getValue() || "", "aria-label": `filter ${column.name}`,
    oninput: (event) => {
      clearTimeout(waiting);
      waiting = setTimeout(() => success(event.target.value.trim()), 350);
    },
  });
}

function pickBox(id) {
  return h("input", { type: "checkbox", checked: picked.has(id), "aria-label": `pick ${id}`, onchange: (event) => {
    if (event.target.checked && picked.size >= MOST_COMPARED) {
      event.target.checked = false;
      tell(new Error(`at most ${MOST_COMPARED} runs are compared at once`));
      return;
    }
    if (event.target.checked) picked.add(id); else picked.delete(id);
    keep({ pick: [...picked].join(",") });
    tools();
  } });
}

async function fetchPage(_url, _config, params) {
  const sort = (params.sort || []).map((one) => (one.dir === "desc" ? "-" : "") + one.field).join(",");
  const changes = { sort, page: params.page > 1 ? params.page : "", size: params.size === 100 ? "" : params.size };
  for (const [name] of filters()) if (name.startsWith("f.")) changes[name] = "";
  for (const one of params.filter || []) changes[`f.${one.field}`] = one.value;
  keep(changes);
  try {
    const found = first || (await ask("rows", query({ page: params.page || 1, size: params.size })));
    total = found.total;
    tell(null);
    if (!first) setTimeout(() => fold(found.data));
    first = null;
    tools();
    return found;
  } catch (error) {
    tell(error);
    return { data: [], last_page: 1 };
  }
}

// Columns that are the same in all rows shown are folded away, unless the user has chosen columns.
function folding(rows) {
  const folded = [];
  const shown = new Set();
  const wanted = chosen();
  for (const column of columns) {
    const isSame = rows.length > 1 && rows.every((row) => text(row[column.name]) === text(rows[0][column.name]));
    const isFiltered = view.get(`f.${column.name}`) || (view.get("sort") || "").replace("-", "") === column.name;
    const isShown = wanted.length ? wanted.includes(column.name) : !isSame || isFiltered || column.name === "id";
    if (!isShown && !wanted.length) folded.push(`${column.name.replace("custom_data.", "")} = ${text(rows[0][column.name])}`);
    if (isShown) shown.add(column.name);
  }
  document.getElementById("folded").textContent = folded.length ? `The same in all rows shown: ${folded.join(", ")}` : "";
  return shown;
}

function fold(rows) {
  const shown = folding(rows);
  const changed = columns.map((one) => table.getColumn(one.name)).filter((one) => one && one.isVisible() !== shown.has(one.getField()));
  if (!changed.length) return;
  table.blockRedraw(); // each change would lay out all rows anew
  for (const one of changed) (shown.has(one.getField()) ? one.show() : one.hide());
  table.restoreRedraw();
}

function tools() {
  document.getElementById("total").textContent = total === null ? "" : `${count(total)} ${total === 1 ? "run" : "runs"}`;
  const shown = chosen();
  document.getElementById("csv").href = `api/export?${query(shown.length ? { columns: shown.join(",") } : {})}`;
  document.getElementById("plot").href = `explore?${new URLSearchParams(filters())}`;
  const ids = new URLSearchParams([...picked].map((id) => ["id", id]));
  const compare = document.getElementById("compare");
  compare.textContent = picked.size ? `Compare ${picked.size}` : "Compare";
  compare.disabled = picked.size < 2;
  compare.onclick = () => { location.href = `compare?${ids}`; };
  const clear = document.getElementById("clear");
  clear.hidden = !filters().length;
}

function columnMenu() {
  const shown = chosen();
  const box = (column) => h("label", {}, h("input", { type: "checkbox", value: column.name,
    checked: shown.length ? shown.includes(column.name) : table.getColumn(column.name)?.isVisible(), onchange: choose }),
    column.name.replace(/^custom_data\./, ""), h("span", { class: "quiet" }, column.role === "own" ? "" : column.role));
  const list = h("div", {}, h("button", { type: "button", onclick: () => { keep({ columns: "" }); table.replaceData(); menu.open = false; } },
    "automatic: hide what is equal"), columns.filter((one) => one.name !== "id").map(box));
  const menu = document.getElementById("columns");
  menu.replaceChildren(menu.querySelector("summary"), list);
}

function choose() {
  const names = [...document.querySelectorAll("#columns input:checked")].map((one) => one.value);
  keep({ columns: ["id", ...names].join(",") });
  fold(table.getData());
  tools();
}

begin(async () => {
  const search = h("input", { type: "search", placeholder: "Search keys and texts", "aria-label": "Search", value: view.get("q") || "" });
  let waiting = null;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { keep({ q: search.value.trim(), page: "" }); table.setPage(1); }, 300);
  });
  show(
    h("div", { class: "bar" }, search,
      h("details", { class: "menu", id: "columns", ontoggle: (event) => event.target.open && columnMenu() },
        h("summary", { class: "button" }, "Columns")),
      h("button", { id: "clear", type: "button", hidden: true, onclick: () => {
        for (const [name] of filters()) view.delete(name);
        location.search = view.toString();
      } }, "Clear filters"),
      h("span", { id: "total", class: "quiet", role: "status" }),
      h("a", { id: "plot", class: "button push", href: "explore" }, "Plot these"),
      h("a", { id: "csv", class: "button", href: "api/export" }, "CSV"),
      h("button", { id: "compare", type: "button", disabled: true, title: "Pick 2 to 6 runs" }, "Compare")),
    h("p", { id: "folded", class: "quiet" }),
    h("div", { id: "table" }));
  const page = { page: view.get("page") || 1, size: view.get("size") || 100 };
  const library = load("tabulator.min.js");
  library.catch(() => {}); // what is wrong with it is told below
  const early = ask("rows", query(page)).catch(() => null); // and with this when the table asks again
  const [found, rows] = await Promise.all([about(), early]);
  columns = [...found.columns].sort((a, b) => (b.name === "id") - (a.name === "id"));
  first = rows;
  const made = columnsOfTable(first ? folding(first.data) : null);
  if (first?.data.length && !document.hidden) await preview(made, first.data);
  await library;
  const sort = (view.get("sort") || "").split(",").filter(Boolean);
  table = new Tabulator("#table", {
    columns: made, nestedFieldSeparator: false, layout: "fitDataFill", renderVertical: "basic", rowHeight: ROW, placeholder: "No runs to show.",
    pagination: true, paginationMode: "remote", paginationSize: Number(view.get("size")) || 100,
    paginationInitialPage: Number(view.get("page")) || 1, paginationSizeSelector: [25, 100, 500], sortMode: "remote",
    filterMode: "remote", ajaxURL: "api/rows", ajaxRequestFunc: fetchPage, dataLoader: false,
    initialSort: sort.map((one) => ({ column: one.replace(/^-/, ""), dir: one.startsWith("-") ? "desc" : "asc" })).reverse(),
    initialHeaderFilter: filters().filter(([name]) => name.startsWith("f.")).map(([name, value]) => ({ field: name.slice(2), value })),
    columnDefaults: { headerSortTristate: true }, columnHeaderSortMulti: true,
  });
  table.on("tableBuilt", () => {
    // A grid has rows and nothing else; what turns pages stands below it, and its rows hold what takes the focus.
    const grid = document.getElementById("table");
    grid.after(h("div", { class: "tabulator foot" }, grid.querySelector(".tabulator-footer")));
    grid.querySelector(".tabulator-tableholder").removeAttribute("tabindex");
  });
  onChange(() => table.replaceData());
});
