// The result of a run: arrays as lines or pictures with sliders for further axes, tables, texts and pictures.
import { ask, askPacked, bytes, h, keep, number, short, table, tell, text, tree, view } from "./common.js";
import { axis, base, chart, MAPS, picture } from "./charts.js";

const NUMBERS = /^(?:[<>|=]?[biufc]\d|u?int|float|complex|bool)/;

export async function result(root, ids) {
  const found = await Promise.all(ids.map((id) => ask("result", { id })));
  const fill = (...children) => root.replaceChildren(...children.flat().filter(Boolean));
  if (found.every((one) => one.kind === "arrays")) {
    viewer(root, ids, found);
    return;
  }
  fill(...found.map((one, i) => h("div", {}, ids.length > 1 ? h("h3", { class: "id" }, short(ids[i])) : null, body(one, ids[i]))));
}

function saveLink(id, one) {
  return one.name && !one.folder ? h("a", { class: "button", href: `api/file?${new URLSearchParams({ id, save: "1" })}` }, `Save ${one.name} (${bytes(one.size)})`)
    : h("span", { class: "quiet" }, one.name ? `${one.name}, a folder of ${bytes(one.size)}` : "");
}

function body(one, id) {
  const head = h("p", { class: "bar" }, saveLink(id, one));
  const more = one.more ? h("p", { class: "quiet" }, one.total ? `The first lines of ${one.total.toLocaleString("en")}.` : "Only the beginning is shown.") : null;
  if (one.kind === "text") return [head, h("pre", { tabIndex: 0 }, one.text), more];
  if (one.kind === "table") return [head, table(one.columns, one.rows), more];
  if (one.kind === "picture") return [head, h("div", { class: "picture" }, h("img", { src: `api/file?${new URLSearchParams({ id })}`, alt: `the picture ${one.name}` }))];
  if (one.kind === "arrays") return [head, h("p", {}, one.arrays.map((array) => `${array.name} ${array.shape.join(" × ")}`).join(", "))];
  return [head, h("p", { class: "quiet" }, `The result is not shown: ${one.why}.`)];
}

// ---- arrays
const dims = (array) => array.shape.map((_, i) => array.dims[i] || `axis ${i}`);

function viewer(root, ids, found) {
  const common = found[0].arrays.filter((one) => found.every((other) => other.arrays.some((array) => array.name === one.name)));
  if (!common.length) {
    root.replaceChildren(h("p", { class: "quiet" }, "There is no array that all of them have."));
    return;
  }
  const score = (one) => (NUMBERS.test(one.dtype) ? 10 : 0) + Math.min(one.shape.length, 2);
  const wanted = view.get("array");
  let array = common.find((one) => one.name === wanted) || [...common].sort((a, b) => score(b) - score(a))[0];
  const area = h("div", { class: "show" });
  const list = h("div", { class: "list", role: "group", "aria-label": "Arrays" });
  let at = (view.get("at") || "").split(",").filter(Boolean);
  if (at.length !== array.shape.length) at = start(array);

  function names() {
    list.replaceChildren(...common.map((one) => h("button", { type: "button", "aria-pressed": String(one === array), onclick: () => {
      array = one;
      at = start(one);
      keep({ array: one.name, at: "", low: "", high: "" });
      names();
      draw();
    } }, h("span", {}, one.name || "array"), h("span", { class: "quiet" }, `${one.shape.join(" × ") || "scalar"} ${one.dtype}`))));
  }

  async function draw() {
    const sets = await Promise.all(ids.map((id) => askPacked("array", { id, array: array.name, at: at.join(",") })));
    const kept = { at: at.join(",") === start(array).join(",") ? "" : at.join(",") };
    keep(kept);
    const drawing = h("div", {});
    area.replaceChildren(...[saveRow(ids, found), sliders(), drawing, attributes()].filter(Boolean));
    await render(drawing, sets);
  }

  function sliders() {
    const several = dims(array);
    if (array.shape.length < 2) return null;
    return h("div", { class: "bar" }, several.map((name, i) => {
      const isFree = at[i] === "*";
      const toggle = h("input", { type: "checkbox", checked: isFree, "aria-label": `show ${name} as an axis`, onchange: () => {
        if (isFree) at[i] = "0"; else at[i] = "*";
        const free = at.flatMap((one, k) => (one === "*" ? [k] : []));
        if (free.length > 2) at[free.find((k) => k !== i)] = "0";
        draw().catch(tell);
      } });
      const slide = isFree ? null : h("input", { type: "range", min: 0, max: array.shape[i] - 1, value: at[i], "aria-label": `place in ${name}`,
        onchange: (event) => { at[i] = event.target.value; draw().catch(tell); } });
      return h("label", {}, toggle, name, slide, isFree ? null : h("span", { class: "quiet" }, `${at[i]} of ${array.shape[i]}`));
    }));
  }

  function attributes() {
    const entries = Object.entries(found[0].arrays.find((one) => one.name === array.name).attrs);
    return entries.length ? h("details", {}, h("summary", {}, "Attributes"), tree(Object.fromEntries(entries))) : null;
  }

  async function render(drawing, sets) {
    const told = sets[0][0];
    if (told.texts) {
      drawing.append(h("pre", { tabIndex: 0 }, sets.map(([one]) => one.texts.map(text).join("\n")).join("\n\n")));
      return;
    }
    if (told.free.length === 0) {
      drawing.append(h("p", {}, ids.map((id, i) => h("div", {}, ids.length > 1 ? `${short(id)}: ` : "", h("b", {}, number(sets[i][1][0]))))));
      return;
    }
    const notes = [];
    if (told.steps.some((one) => one > 1)) notes.push(`one value in ${told.steps.join(" × ")} is shown`);
    if (told.cut.some(Boolean)) notes.push("only the beginning of the array is shown");
    if (told.magnitude) notes.push("complex numbers are shown by their magnitude");
    if (told.free.length === 1) await linesOf(drawing, sets, ids, told, array);
    else picturesOf(drawing, sets, ids, told);
    if (notes.length) drawing.append(h("p", { class: "quiet" }, notes.join("; ")));
  }

  function picturesOf(drawing, sets, names_, told) {
    const least = sets.reduce((found_, [one]) => Math.min(found_, one.min ?? Infinity), Infinity);
    const most = sets.reduce((found_, [one]) => Math.max(found_, one.max ?? -Infinity), -Infinity);
    const low = view.get("low") !== null ? Number(view.get("low")) : Number.isFinite(least) ? least : 0;
    const high = view.get("high") !== null ? Number(view.get("high")) : Number.isFinite(most) ? most : 1;
    const map = view.get("map") in MAPS ? view.get("map") : "viridis";
    const limit = (name, value, label) => h("label", {}, label, h("input", { type: "number", step: "any", value: number(value), style: "width:110px",
      onchange: (event) => { keep({ [name]: event.target.value }); redraw(); } }));
    const shapes = new Set(sets.map(([one]) => one.shape.join()));
    const redraw = () => { drawing.replaceChildren(); picturesOf(drawing, sets, names_, told); };
    drawing.append(h("div", { class: "bar" },
      h("label", {}, "colours", h("select", { onchange: (event) => { keep({ map: event.target.value }); redraw(); } },
        Object.keys(MAPS).map((one) => h("option", { selected: one === map }, one)))),
      limit("low", low, "from"), limit("high", high, "to"),
      view.get("low") !== null || view.get("high") !== null ? h("button", { type: "button", onclick: () => { keep({ low: "", high: "" }); redraw(); } }, "all values") : null));
    const made = sets.map(([one, values], i) => picture(values, one.shape, { map, low, high, steps: one.steps, name: names_.length > 1 ? short(names_[i]) : "" }));
    if (sets.length === 2 && shapes.size === 1) {
      const difference = sets[1][1].map((value, i) => value - sets[0][1][i]);
      const size = difference.reduce((found_, value) => (Number.isFinite(value) ? Math.max(found_, Math.abs(value)) : found_), 0) || 1;
      made.push(picture(difference, told.shape, { map: "diverging", low: -size, high: size, steps: told.steps, name: "second − first" }));
    }
    drawing.append(h("div", { class: "pictures" }, made));
  }

  names();
  root.replaceChildren(h("div", { class: "viewer" }, list, area));
  draw().catch(tell);
}

function start(array) {
  const free = Math.max(0, array.shape.length - 2);
  return array.shape.map((_, i) => (i >= free ? "*" : "0"));
}

function saveRow(ids, found) {
  return ids.length === 1 ? h("p", { class: "bar" }, saveLink(ids[0], found[0])) : null;
}

async function linesOf(drawing, sets, ids, told, array) {
  const element = h("div", { class: "chart low" });
  drawing.append(element);
  const made = await chart(element);
  const name = told.dims[0] || "index";
  made.setOption({
    ...base(), grid: { left: 76, right: 24, top: ids.length > 1 ? 34 : 14, bottom: 46 }, legend: ids.length > 1 ? { top: 0, textStyle: { color: base().textStyle.color } } : undefined,
    tooltip: { ...base().tooltip, trigger: "axis", formatter: (several) => [`${name} ${several[0].data[0]}`, ...several.map((one) => `${ids.length > 1 ? `${one.seriesName}: ` : ""}${number(one.data[1])}`)].join("\n") },
    xAxis: axis({ name, kind: "integer" }), yAxis: axis({ name: array.name || "value", kind: "float" }, { vertical: true }),
    dataZoom: [{ type: "inside" }],
    series: sets.map(([one, values], i) => ({ type: "line", name: short(ids[i]), showSymbol: values.length < 60, lineStyle: { width: 1.5 },
      data: Array.from(values, (value, k) => [k * one.steps[0], value]) })),
  });
}
