// Explore: plots of many runs. The server filters, groups and averages; a click leads to the run.
import { about, ask, askPacked, begin, colours, copy, count, filters, h, keep, number, onTheme, short, show, tell, text, view } from "./common.js";
import { axis, base, chart, colourScale, marks } from "./charts.js";

const KINDS = { scatter: "Scatter", lines: "Lines", heatmap: "Heatmap", parallel: "Parallel" };
let columns = [];
const MANY = 2000; // points, from which on they are drawn as one
let making = null; // the chart, which is loaded while the values are asked for
let drawn = null; // the same, once it is there
let going = null;
let ids = [];
let brushed = [];

const kind = () => (view.get("kind") in KINDS ? view.get("kind") : "scatter");
const named = (name) => columns.find((one) => one.name === name);

function defaults() {
  const numbers = columns.filter((one) => one.number && one.name !== "created_at");
  const params = numbers.filter((one) => one.role === "param");
  const results = numbers.filter((one) => one.role === "outcome" && one.kind !== "boolean");
  const elapsed = numbers.find((one) => one.name === "custom_data.elapsed_seconds");
  const y = results[0] || elapsed || numbers[numbers.length - 1];
  return {
    x: params[0]?.name || numbers[0]?.name, y: y?.name, z: y?.name, c: "", by: "",
    columns: [...params.slice(0, 4), ...results.slice(0, 2)].map((one) => one.name).join(","),
  };
}

function option(name, fallback) {
  const given = view.get(name);
  return given !== null && (given === "" || named(given) || name === "columns") ? given : fallback;
}

function asked() {
  const usual = defaults();
  const params = columns.filter((one) => one.role === "param");
  const made = { x: option("x", usual.x), y: option("y", usual.y), c: option("c", ""), by: option("by", ""), z: option("z", usual.z) };
  if (kind() === "heatmap" && !view.get("y")) made.y = params.find((one) => one.name !== made.x)?.name || made.y;
  made.columns = option("columns", usual.columns);
  made.how = view.get("how") || "mean";
  return made;
}

function select(name, label, value, among, none) {
  const values = [...(none ? [["", none]] : []), ...among.map((one) => [one.name, one.name.replace(/^custom_data\./, "")])];
  return h("label", {}, label, h("select", { onchange: (event) => { keep({ [name]: event.target.value }); update(); }, "aria-label": label },
    values.map(([one, title]) => h("option", { value: one, selected: one === value }, title))));
}

function check(name, label) {
  return h("label", {}, h("input", { type: "checkbox", checked: view.get(name) === "1",
    onchange: (event) => { keep({ [name]: event.target.checked ? "1" : "" }); update(); } }), label);
}

function controls() {
  const now = asked();
  const numbers = columns.filter((one) => one.number);
  const all = columns.filter((one) => one.name !== "id" && !["json", "bytes", "object"].includes(one.kind));
  const stored = all.filter((one) => one.role !== "result"); // by which rows can be filtered
  const made = {
    scatter: () => [select("x", "x", now.x, all), select("y", "y", now.y, all), select("c", "colour", now.c, all, "(none)"),
      check("logx", "log x"), check("logy", "log y"), check("logc", "log colour")],
    lines: () => [select("x", "x", now.x, stored), select("y", "y", now.y, numbers), select("by", "one line for each", now.by, stored, "(one line)"),
      check("logx", "log x"), check("logy", "log y")],
    heatmap: () => [select("x", "x", now.x, stored), select("y", "y", now.y, stored), select("z", "value", now.z, numbers),
      h("label", {}, "of each cell", h("select", { onchange: (event) => { keep({ how: event.target.value }); update(); } },
        ["mean", "min", "max", "count"].map((one) => h("option", { selected: one === now.how }, one))))],
    parallel: () => [h("details", { class: "menu" }, h("summary", { class: "button" }, "Axes"), h("div", {}, all.map((one) =>
      h("label", {}, h("input", { type: "checkbox", value: one.name, checked: now.columns.split(",").includes(one.name), onchange: (event) => {
        const names = [...event.target.closest("div").querySelectorAll("input:checked")].map((box) => box.value);
        keep({ columns: names.join(",") });
        update(true);
      } }), one.name.replace(/^custom_data\./, "")))))],
  };
  return made[kind()]();
}

function request() {
  const now = asked();
  const names = { scatter: ["x", "y", "c"], lines: ["x", "y", "by"], heatmap: ["x", "y", "z", "how"], parallel: ["columns"] }[kind()];
  const made = new URLSearchParams(filters());
  for (const name of names) if (now[name]) made.set(name, now[name]);
  return made;
}

function note(...parts) {
  document.getElementById("note").textContent = parts.filter(Boolean).join("; ");
}

const shownOf = (told) => (told.total > told.count ? `${count(told.count)} of ${count(told.total)} runs shown (a sample)` : `${count(told.count)} runs`);

// ---- scatter
const room = (one) => (one.categories.length ? true : ["2%", "2%"]); // so that no point is cut at the edge

function scatter(told, data) {
  const n = told.count;
  const logx = view.get("logx") === "1" && !told.axes.x.categories.length;
  const logy = view.get("logy") === "1" && !told.axes.y.categories.length;
  const hasColour = Boolean(told.axes.c);
  const logc = hasColour && view.get("logc") === "1" && !told.axes.c.categories.length;
  const points = new Float64Array(3 * n); // one after another: arrays of their own would keep the collector busy
  let [missing, low, high] = [0, Infinity, -Infinity];
  ids = [];
  for (let i = 0; i < n; i += 1) {
    const x = data[i];
    const y = data[n + i];
    let c = hasColour ? data[2 * n + i] : 0;
    if (logc) c = Math.log10(c);
    if (!Number.isFinite(x) || !Number.isFinite(y) || (logx && x <= 0) || (logy && y <= 0) || !Number.isFinite(c)) { missing += 1; continue; }
    if (c < low) low = c;
    if (c > high) high = c;
    points.set([x, y, c], 3 * ids.length);
    ids.push(told.ids[i]);
  }
  const several = ids.length;
  note(shownOf(told), missing ? `${count(missing)} have no place here${logx || logy || logc ? " (a logarithm needs values above 0)" : ""}` : "");
  const size = several > 20000 ? 3 : several > MANY ? 3.9 : several > 1000 ? 5 : 8; // below 4, many are drawn one by one, so that opacities add up
  const value = (which, v) => (told.axes[which].categories.length ? told.axes[which].categories[v] : told.axes[which].kind === "datetime" ? new Date(v).toISOString().slice(0, 19) : number(v));
  return {
    ...base(), xAxis: { ...axis(told.axes.x, { log: logx }), boundaryGap: room(told.axes.x) }, yAxis: { ...axis(told.axes.y, { log: logy, vertical: true }), boundaryGap: room(told.axes.y) },
    visualMap: hasColour && several ? colourScale(told.axes.c, low, high, logc) : undefined,
    dataZoom: [{ type: "inside", xAxisIndex: 0 }, { type: "inside", yAxisIndex: 0 }],
    tooltip: { ...base().tooltip, trigger: "item", formatter: ({ dataIndex }) => {
      const [x, y, c] = points.subarray(3 * dataIndex, 3 * dataIndex + 3);
      return [short(ids[dataIndex]), `${told.axes.x.name}: ${value("x", x)}`, `${told.axes.y.name}: ${value("y", y)}`,
        ...(hasColour ? [`${told.axes.c.name}: ${value("c", logc ? 10 ** c : c)}`] : [])].join("\n");
    } },
    series: [{ type: "scatter", data: points.subarray(0, 3 * several), dimensions: ["x", "y", "c"], symbolSize: size, progressive: 20000, progressiveThreshold: 20000,
      large: !hasColour, largeThreshold: MANY, // all at once, in one colour: five times faster
      itemStyle: { opacity: several > 20000 ? 0.5 : 0.75, color: hasColour ? undefined : colours().accent }, cursor: "pointer" }],
  };
}

// ---- lines
function band(points, colour, logy) {
  return {
    type: "custom", silent: true, z: 1, data: [0], tooltip: { show: false },
    renderItem: (_params, api) => {
      const at = (x, y) => api.coord([x, y]);
      const low = ([x, mean, spread, least]) => at(x, logy ? Math.max(mean - spread, least) : mean - spread);
      const shape = [...points.map((one) => at(one[0], one[1] + one[2])), ...[...points].reverse().map(low)];
      return { type: "polygon", shape: { points: shape }, style: { fill: colour, opacity: 0.16 }, silent: true };
    },
    encode: {}, clip: true,
  };
}

function lines(told) {
  ids = [];
  const logx = view.get("logx") === "1" && !told.axes.x.categories.length;
  const logy = view.get("logy") === "1";
  const series = [];
  const palette = base().color;
  told.lines.forEach((one, i) => {
    const points = one.points.filter(([x, y]) => (!logx || x > 0) && (!logy || y > 0));
    const colour = palette[i % palette.length];
    series.push({ type: "line", name: one.by || told.axes.y.name, data: points, encode: { x: 0, y: 1 }, symbolSize: 6, lineStyle: { width: 2, color: colour },
      itemStyle: { color: colour }, showSymbol: points.length < 200, z: 3 });
    if (points.some((point) => point[5] > 1)) series.push(band(points, colour, logy));
  });
  note(shownOf(told), "the mean, and one standard deviation around it", told.left_out ? `${told.left_out} lines are left out` : "");
  return {
    ...base(), xAxis: axis(told.axes.x, { log: logx }), yAxis: axis(told.axes.y, { log: logy, vertical: true }),
    legend: { type: "scroll", top: 0, textStyle: { color: colours().text }, data: told.lines.map((one) => one.by).filter(Boolean) },
    tooltip: { ...base().tooltip, formatter: ({ seriesName, data: [x, mean, spread, least, most, several] }) => [seriesName,
      `${told.axes.x.name}: ${told.axes.x.categories[x] ?? number(x)}`, `mean ${number(mean)} ± ${number(spread)}`, `${number(least)} to ${number(most)}`, `${several} runs`].join("\n") },
    series,
  };
}

// ---- heatmap
function heatmap(told) {
  ids = [];
  const label = (v) => (typeof v === "number" ? number(v) : v);
  const values = told.cells.map((one) => one[2]);
  const [low, high] = values.length ? [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))] : [0, 1];
  note(shownOf(told), told.binned.some(Boolean) ? "values are binned" : "");
  const side = (which, vertical) => ({ ...axis({ ...told.axes[which], categories: told[which].map(label) }, { vertical }), splitArea: { show: false } });
  return {
    ...base(), xAxis: side("x", false), yAxis: side("y", true),
    visualMap: colourScale({ name: asked().how }, low, high === low ? low + 1 : high, false),
    tooltip: { ...base().tooltip, formatter: ({ data: [i, j, z, several] }) => [`${told.axes.x.name}: ${label(told.x[i])}`,
      `${told.axes.y.name}: ${label(told.y[j])}`, `${asked().how}: ${number(z)}`, `${several} runs`].join("\n") },
    series: [{ type: "heatmap", data: told.cells, progressive: 100000, cursor: "pointer" }],
  };
}

function cellLink(told, [i, j]) {
  const made = new URLSearchParams(filters());
  [["x", i], ["y", j]].forEach(([which, at], n) => {
    const one = told.axes[which];
    const value = told[which][at];
    if (told.binned[n]) {
      const half = (told[which][1] - told[which][0]) / 2;
      made.set(`f.${one.name}`, `>=${value - half} <=${value + half}`);
    } else if (value !== "(none)") made.set(`f.${one.name}`, ["text"].includes(one.kind) ? `=${value}` : String(value));
    else made.set(`f.${one.name}`, "null");
  });
  return `./?${made}`;
}

// ---- parallel coordinates
function parallel(told, data) {
  const n = told.count;
  let axes = Object.values(told.axes).map((one, k) => ({ ...one, at: k }));
  if (view.get("columns") === null) {
    const differing = axes.filter(({ at }) => { for (let i = 1; i < n; i += 1) if (data[at * n + i] !== data[at * n]) return true; return false; });
    if (differing.length >= 2) axes = differing;
  }
  brushed = axes;
  const theme = colours();
  const rows = [];
  ids = [];
  for (let i = 0; i < n; i += 1) {
    const row = axes.map((one) => data[one.at * n + i]);
    if (row.every(Number.isFinite)) { rows.push(row); ids.push(told.ids[i]); }
  }
  const last = axes.length - 1;
  const values = rows.map((row) => row[last]);
  note(shownOf(told), n - rows.length ? `${count(n - rows.length)} lack a value` : "", "drag along an axis to select");
  return {
    ...base(), parallel: { left: 60, right: 80, top: 50, bottom: 30, parallelAxisDefault: { nameTextStyle: { color: theme.text }, axisLabel: { color: theme.quiet } } },
    parallelAxis: axes.map((one, i) => ({ dim: i, ...axis(one), nameLocation: "end", nameGap: 14 })),
    visualMap: axes[last].categories.length || !rows.length ? undefined : { show: false, dimension: last, min: values.reduce((a, b) => Math.min(a, b)), max: values.reduce((a, b) => Math.max(a, b)), inRange: { color: marks() } },
    series: [{ type: "parallel", data: rows, lineStyle: { width: 1, opacity: rows.length > 1000 ? 0.15 : 0.45 }, progressive: 1000 }],
  };
}

function selected() {
  const axes = brushed;
  const option = drawn.getOption();
  const made = new URLSearchParams(filters());
  let some = false;
  option.parallelAxis.forEach((_, i) => {
    const intervals = drawn.getModel().getComponent("parallelAxis", i).activeIntervals;
    const one = axes[i];
    if (!intervals?.length || named(one.name)?.role === "result") return;
    const [low, high] = intervals[0];
    some = true;
    if (one.categories.length) made.set(`f.${one.name}`, one.categories.filter((__, at) => at >= low && at <= high).join(", "));
    else if (one.kind === "datetime") made.set(`f.${one.name}`, `>=${new Date(low).toISOString().slice(0, 19)} <=${new Date(high).toISOString().slice(0, 19)}`);
    else made.set(`f.${one.name}`, `>=${Number(low.toPrecision(8))} <=${Number(high.toPrecision(8))}`);
  });
  const link = document.getElementById("selection");
  link.hidden = !some;
  link.href = `./?${made}`;
}

// ---- all of them
async function update(keepsControls = false) {
  going?.abort();
  going = new AbortController();
  const { signal } = going;
  if (!keepsControls) {
    document.getElementById("controls").replaceChildren(...controls());
    document.querySelectorAll("#kinds button").forEach((one) => one.setAttribute("aria-pressed", String(one.value === kind())));
  }
  document.getElementById("script").hidden = true;
  document.getElementById("selection").hidden = true;
  document.getElementById("chart").dataset.state = "drawing";
  try {
    const params = request();
    const packed = { scatter: "points", parallel: "parallel" }[kind()];
    const [told, data] = packed ? await askPacked(packed, params, signal) : [await ask(kind() === "lines" ? "lines" : "grid", params, signal)];
    drawn ??= await making;
    if (signal.aborted) return;
    const made = { scatter, lines, heatmap, parallel }[kind()](told, data);
    tell(null);
    drawn.off("click");
    drawn.off("finished");
    drawn.off("axisareaselected");
    drawn.on("finished", () => { document.getElementById("chart").dataset.state = "drawn"; });
    drawn.clear();
    drawn.setOption(made, { notMerge: true });
    drawn.on("click", (event) => {
      if (kind() === "heatmap" && event.data) location.href = cellLink(told, event.data);
      else if (ids[event.dataIndex]) location.href = `run?${new URLSearchParams({ id: ids[event.dataIndex] })}`;
    });
    if (kind() === "parallel") drawn.on("axisareaselected", () => selected());
  } catch (error) {
    if (error.name === "AbortError") return;
    drawn?.clear();
    note("");
    tell(error);
  }
}

function filterChips() {
  return filters().map(([name, value]) => h("span", { class: "chip" }, `${name.replace(/^f\./, "").replace("custom_data.", "")}: ${value}`,
    h("button", { class: "name", type: "button", "aria-label": `remove the filter ${name}`, onclick: (event) => {
      keep({ [name]: "" });
      event.target.closest(".chip").remove();
      update();
    } }, "×")));
}

function savePng() {
  if (!drawn) return;
  const address = drawn.getDataURL({ type: "png", pixelRatio: 2, backgroundColor: colours().back });
  h("a", { href: address, download: `${kind()}.png` }).click();
}

async function showScript() {
  const box = document.getElementById("script");
  const params = request();
  params.set("kind", kind());
  for (const name of ["logx", "logy"]) if (view.get(name)) params.set(name, view.get(name));
  const { text: lines_ } = await ask("script", params);
  const button = h("button", { type: "button", onclick: () => copy(lines_, button) }, "Copy");
  box.replaceChildren(button, h("pre", {}, lines_));
  box.hidden = false;
}

begin(async () => {
  const element = h("div", { class: "chart", id: "chart" });
  show(
    h("div", { class: "bar" },
      h("span", { class: "tabs", id: "kinds" }, Object.entries(KINDS).map(([name, title]) => h("button", { type: "button", value: name,
        "aria-pressed": "false", onclick: () => { keep({ kind: name }); update(); } }, title))),
      ...filterChips(),
      h("button", { class: "push", type: "button", onclick: savePng }, "PNG"),
      h("button", { type: "button", onclick: () => showScript().catch(tell) }, "Python")),
    h("div", { class: "bar", id: "controls" }), element,
    h("p", { class: "bar" }, h("span", { class: "quiet", id: "note", role: "status" }), h("a", { id: "selection", hidden: true, class: "button" }, "Show the selection in Runs")),
    h("div", { id: "script", hidden: true }));
  const isOfResults = [...view.values()].some((one) => one.includes("result.")); // else these may come later: files are read for them
  making = chart(element);
  making.catch(() => {}); // what is wrong with it is told when something is drawn
  ({ columns } = await about(isOfResults ? { results: 1 } : {}));
  onTheme(() => update());
  await update();
  if (isOfResults) return;
  const found = await ask("schema", { results: 1 });
  if (found.columns.length === columns.length) return;
  columns = found.columns;
  document.getElementById("controls").replaceChildren(...controls());
});
