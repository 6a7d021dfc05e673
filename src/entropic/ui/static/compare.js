// Compare: what differs between some runs, and their results over each other.
import { about, ask, begin, h, runLink, show, stateChip, text, view } from "./common.js";
import { result } from "./arrays.js";

function flat(prefix, value, made) {
  for (const [name, inner] of Object.entries(value || {})) {
    if (inner !== null && typeof inner === "object" && !Array.isArray(inner)) flat(`${prefix}${name}.`, inner, made);
    else made[`${prefix}${name}`] = inner;
  }
  return made;
}

function all(run) {
  return { ...run.params, ...run.outcomes, created_at: run.created_at, size: run.size, ...flat("custom_data.", run.custom, {}) };
}

begin(async () => {
  about();
  const ids = [...new Set(view.getAll("id"))].slice(0, 6);
  if (ids.length < 2) throw new Error("pick 2 to 6 runs in Runs, then compare them");
  const runs = await Promise.all(ids.map((id) => ask("run", { id })));
  const values = runs.map(all);
  const names = [...new Set(values.flatMap(Object.keys))];
  const rows = names.map((name) => [name, values.map((one) => text(one[name]))]);
  const equal = rows.filter(([, several]) => several.every((one) => one === several[0]));
  const differing = rows.filter((row) => !equal.includes(row));
  const line = (isDifferent) => ([name, several]) => h("tr", {}, h("th", { scope: "row" }, name), several.map((one) => h("td", { class: "value" }, one)));
  const head = () => h("thead", {}, h("tr", {}, h("th", { scope: "col" }, h("span", { class: "unseen" }, "value")), runs.map((one) => h("th", { scope: "col" }, runLink(one.id), " ", stateChip(one.state)))));
  const area = h("div", {});
  show(
    h("h2", {}, "What differs"),
    h("div", { class: "scroll", tabIndex: 0 }, h("table", { class: "plain" }, head(), h("tbody", {}, differing.map(line(true))))),
    h("details", {}, h("summary", {}, `${equal.length} values are the same`), h("div", { class: "scroll" }, h("table", { class: "plain" }, h("tbody", {}, equal.map(([name, several]) =>
      h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "value" }, several[0]))))))),
    h("h2", {}, "Results"), area);
  await result(area, ids);
});
