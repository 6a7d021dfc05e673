// Failures: grouped by what was raised, with one traceback each.
import { about, ask, begin, count, h, onChange, pairs, runLink, seconds, show, table, text } from "./common.js";

function card(group) {
  const { newest } = group;
  const shared = Object.entries(group.shared);
  const names = [...new Set(group.runs.flatMap((one) => Object.keys(one.params)))].filter((name) => !(name in group.shared));
  return h("section", { class: "card" },
    h("h2", {}, h("span", { class: "chip failed" }, h("b", {}, count(group.count)), " ", group.count === 1 ? "run" : "runs"), " ", h("span", { class: "failed" }, newest.type)),
    h("p", { class: "value" }, newest.message),
    shared.length ? h("p", { class: "quiet" }, `All of them have ${shared.map(([name, value]) => `${name} = ${text(value)}`).join(", ")}.`) : null,
    newest.traceback ? h("details", { open: true }, h("summary", {}, "Traceback of the newest"), h("pre", { tabIndex: 0 }, newest.traceback)) : null,
    h("details", {}, h("summary", {}, group.count > group.runs.length ? `The newest ${group.runs.length} runs` : "Runs"),
      table([...names, "begun (UTC)", "after", "host", "run"], group.runs.map((one) =>
        [...names.map((name) => one.params[name]), one.started_at, seconds(one.seconds), one.host, runLink(one.id)]))));
}

async function draw() {
  const open = new Set([...document.querySelectorAll("details[open] > summary")].map((one) => one.textContent));
  const found = await ask("failures");
  show(found.groups.length ? found.groups.map(card) : h("p", { class: "quiet" }, "Nothing has failed that has not succeeded since."));
  return open;
}

begin(async () => {
  about();
  await draw();
  let failed = null;
  onChange(async (now) => { if (failed !== now.failed) { failed = now.failed; await draw(); } });
});
