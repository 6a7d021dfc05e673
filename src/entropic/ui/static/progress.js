// Progress: what is running, where, since when, and how fast it goes.
import { about, ask, begin, bytes, count, h, runLink, seconds, show, table } from "./common.js";

const figure = (value, name) => h("div", { class: "card" }, h("b", {}, value), h("span", { class: "quiet" }, name));
const elapsed = (time) => Math.max(0, (Date.now() - Date.parse(`${time.replace(" ", "T")}Z`)) / 1000);

/** How far a run says it is, and how long the rest takes if it goes on like that. */
function reportOf(one) {
  if (!one.report) return "";
  const { text, fraction } = one.report;
  const left = fraction ? (elapsed(one.since) * (1 - fraction)) / fraction : null;
  return h("span", {}, fraction === null ? null : h("progress", { value: fraction, max: 1, "aria-label": `how far ${one.id} is` }), " ", text,
    left === null ? null : h("span", { class: "quiet" }, `, about ${seconds(left)} left`));
}

async function draw() {
  const found = await ask("progress");
  const hasReports = found.running.some((one) => one.report);
  show(
    h("div", { class: "cards" },
      figure(count(found.running_count), "running now"),
      figure(count(found.last_minute), "stored in the last minute"),
      figure(count(found.last_hour), "stored in the last hour"),
      figure(found.seconds === null ? "–" : seconds(found.seconds), "a run takes"),
      figure(count(found.stored), `stored, ${bytes(found.size)}`),
      figure(count(found.failed), "failed")),
    h("h2", {}, "Hosts"),
    found.hosts.length ? table(["host", "processes", "running"], found.hosts.map((one) => [one.host, one.processes, one.running])) : h("p", { class: "quiet" }, "Nothing is running."),
    found.running.length ? [h("h2", {}, found.running_count > found.running.length ? `Running (the oldest ${found.running.length})` : "Running"),
      table(["run", "host", "pid", "for", ...(hasReports ? ["how far"] : [])], found.running.map((one) =>
        [runLink(one.id), one.host, String(one.pid), seconds(elapsed(one.since)), ...(hasReports ? [reportOf(one)] : [])]))] : null,
    found.dead.length ? [h("h2", {}, "Left by processes that are gone"), h("p", { class: "quiet" }, "They run again when they are asked for."),
      h("p", {}, found.dead.map((id) => [runLink(id), " "]))] : null);
}

begin(async () => {
  about();
  await draw();
  const again = async () => { if (!document.hidden) await draw(); };
  setInterval(() => again().catch(() => {}), 2000);
});
