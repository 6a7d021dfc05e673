// Run: all that is known of one set, and its result.
import { about, ask, begin, bytes, copy, h, onChange, pairs, runLink, seconds, short, show, stateChip, table, text, tree, view } from "./common.js";
import { result } from "./arrays.js";

const section = (title, ...children) => h("section", {}, h("h2", {}, title), ...children);

function failureOf(found) {
  return section("Why it failed", h("p", {}, h("b", { class: "failed" }, found.type), `: ${found.message}`),
    h("p", { class: "quiet" }, `on ${found.host} (pid ${found.pid}${found.job ? `, job ${found.job}` : ""}), begun ${found.started_at} UTC, failed after ${seconds(found.seconds)}` +
      (found.attempt > 1 ? `; ${found.attempt} times in a row` : "")),
    found.traceback ? h("pre", { tabIndex: 0 }, found.traceback) : null);
}

function neighboursOf(found) {
  const groups = Map.groupBy ? Map.groupBy(found, (one) => one.differs) : grouped(found);
  const outcomes = Object.keys(found[0]?.outcomes || {});
  return section("Neighbours", found.length ? h("p", { class: "quiet" }, "Runs that differ in this one parameter.") : h("p", { class: "quiet" }, "No run differs from this one in a single parameter."),
    h("div", { class: "sections" }, [...groups].map(([name, several]) => h("section", {}, table([name, ...outcomes, "run"],
      several.slice(0, 40).map((one) => [one.value, ...outcomes.map((outcome) => one.outcomes[outcome]), runLink(one.id)]))))));
}

function grouped(found) {
  const made = new Map();
  for (const one of found) made.set(one.differs, [...(made.get(one.differs) || []), one]);
  return made;
}

async function draw(id) {
  const found = await ask("run", { id });
  document.title = `${short(id)} · entropic`;
  const key = h("button", { type: "button", title: id, onclick: () => copy(id, key) }, "Copy key");
  const { elapsed_seconds: elapsed, ...custom } = found.custom || {};
  const area = h("div", {});
  const times = [["stored", found.created_at ? `${found.created_at} UTC` : null], ["took", elapsed === undefined ? null : seconds(elapsed)],
    ["result", found.file], ["size", found.size === undefined ? null : bytes(found.size)]].filter(([, value]) => value !== null && value !== undefined);
  if (found.running) times.unshift(["running", `${found.running.dead ? "claimed by a process that is gone" : "on"} ${found.running.host} (pid ${found.running.pid}) since ${found.running.since} UTC`]);
  show(
    h("div", { class: "bar" }, h("span", { class: "id" }, id), stateChip(found.state), key,
      h("a", { class: "button push", href: `./?${new URLSearchParams({ pick: id })}` }, "Compare with…")),
    found.why ? h("p", { class: "failed" }, found.why) : null,
    found.note?.text || found.note?.tags.length ? h("p", { class: "note" }, found.note.text,
      found.note.tags.map((tag) => h("span", { class: "chip" }, `#${tag}`))) : null,
    h("div", { class: "sections" },
      section("Parameters", pairs(Object.entries(found.params))),
      Object.keys(found.outcomes).length ? section("Outcomes", pairs(Object.entries(found.outcomes))) : null,
      section("Run", pairs(times)),
      Object.keys(custom).length ? section("Custom data", tree(custom)) : null,
      Object.keys(found.provenance || {}).length ? section("Where it comes from", pairs(Object.entries(found.provenance))) : null),
    found.failure ? failureOf(found.failure) : null,
    found.file ? section("Result", area) : null,
    found.neighbours ? neighboursOf(found.neighbours) : null,
    found.log ? section("Log", h("p", { class: "quiet" }, found.log.cut ? `The end of ${bytes(found.log.size)}.` : ""), h("pre", { tabIndex: 0 }, found.log.text)) : null);
  if (found.file) await result(area, [id]);
  return found;
}

begin(async () => {
  about();
  const id = view.get("id");
  if (!id) throw new Error("no run is named; choose one in Runs");
  let found = await draw(id);
  onChange(async () => { if (found.state !== "done") found = await draw(id); });
});
