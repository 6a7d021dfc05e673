// Charts: ECharts with the colours of the theme, and pictures of arrays, which a canvas draws at once.
import { colours, h, load, number, SERIES } from "./common.js";

const VIRIDIS = [[68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137], [53, 183, 121],
  [110, 206, 88], [181, 222, 43], [253, 231, 37]];
const MAGMA = [[0, 0, 4], [28, 16, 68], [79, 18, 123], [129, 37, 129], [181, 54, 122], [229, 80, 100], [251, 135, 97],
  [254, 194, 135], [252, 253, 191]];
const GREY = [[0, 0, 0], [255, 255, 255]];
const DIVERGING = [[33, 102, 172], [103, 169, 207], [209, 229, 240], [247, 247, 247], [253, 219, 199], [239, 138, 98], [178, 24, 43]];
export const MAPS = { viridis: VIRIDIS, magma: MAGMA, grey: GREY, diverging: DIVERGING };
const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;
/** Return the colours of a map for points and lines: those that would sink into a dark background are left out. */
export const marks = () => (isDark() ? css("viridis").slice(2) : css("viridis").slice(0, -1));
export const css = (map) => MAPS[map].map(([r, g, b]) => `rgb(${r},${g},${b})`);

function lookup(map) {
  const stops = MAPS[map];
  const made = new Uint32Array(256);
  const view = new DataView(made.buffer);
  for (let i = 0; i < 256; i += 1) {
    const at = (i / 255) * (stops.length - 1);
    const low = Math.min(Math.floor(at), stops.length - 2);
    [0, 1, 2].forEach((c) => view.setUint8(i * 4 + c, stops[low][c] + (stops[low + 1][c] - stops[low][c]) * (at - low)));
    view.setUint8(i * 4 + 3, 255);
  }
  return made;
}

/** Draw rows of values as a picture with its scale below; hovering tells the value. */
export function picture(values, [rows, columns], { map = "viridis", low, high, name = "", steps = [1, 1] }) {
  const canvas = h("canvas", { width: columns, height: rows, role: "img", "aria-label": `${name} as a picture` });
  const factor = Math.max(1, Math.min(Math.floor(560 / columns), Math.floor(460 / rows)));
  canvas.style.width = `${columns * factor}px`;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  const pixels = new Uint32Array(image.data.buffer);
  const table = lookup(map);
  const width = high - low || 1;
  for (let i = 0; i < pixels.length; i += 1) {
    const value = values[i];
    pixels[i] = Number.isFinite(value) ? table[Math.max(0, Math.min(255, Math.round(((value - low) / width) * 255)))] : 0;
  }
  context.putImageData(image, 0, 0);
  const bar = h("canvas", { width: 256, height: 1 });
  const line = bar.getContext("2d").createImageData(256, 1);
  new Uint32Array(line.data.buffer).set(table);
  bar.getContext("2d").putImageData(line, 0, 0);
  const told = h("span", { class: "quiet" }, " ");
  canvas.addEventListener("mousemove", (event) => {
    const box = canvas.getBoundingClientRect();
    const j = Math.floor(((event.clientX - box.left) / box.width) * columns);
    const i = Math.floor(((event.clientY - box.top) / box.height) * rows);
    if (i >= 0 && j >= 0 && i < rows && j < columns) {
      told.textContent = `[${i * steps[0]}, ${j * steps[1]}] = ${number(values[i * columns + j])}`;
    }
  });
  return h("div", { class: "picture" }, name ? h("div", { class: "quiet" }, name) : null, canvas,
    h("div", { class: "scale" }, number(low), bar, number(high), told));
}

/** Return a chart in an element; its options get the colours of the theme. */
export async function chart(element) {
  await load("echarts.min.js");
  const made = echarts.init(element, null, { renderer: "canvas" });
  new ResizeObserver(() => made.resize()).observe(element);
  return made;
}

export function base() {
  const theme = colours();
  return {
    animation: false, color: SERIES, backgroundColor: "transparent", textStyle: { color: theme.text, fontFamily: "system-ui, sans-serif" },
    grid: { left: 76, right: 136, top: 30, bottom: 56 }, aria: { enabled: true },
    tooltip: { renderMode: "richText", confine: true, backgroundColor: theme.back, borderColor: theme.line, textStyle: { color: theme.text, fontSize: 12 } },
  };
}

/** Return an axis: of numbers, of their logarithms, of times, or of categories. */
export function axis(told, { log = false, vertical = false, name = told.name } = {}) {
  const theme = colours();
  const type = told.categories?.length ? "category" : log ? "log" : told.kind === "datetime" || told.kind === "date" ? "time" : "value";
  return {
    type, data: told.categories?.length ? told.categories : undefined, name: name.replace(/^custom_data\./, ""), scale: true,
    nameLocation: "middle", nameGap: vertical ? 58 : 32, nameTextStyle: { color: theme.text, fontWeight: 600 },
    axisLine: { lineStyle: { color: theme.quiet } }, splitLine: { lineStyle: { color: theme.line } },
    axisLabel: { color: theme.quiet, hideOverlap: true, formatter: type === "value" || type === "log" ? (value) => number(value) : undefined },
  };
}

export function colourScale(told, low, high, log) {
  const theme = colours();
  const common = { right: 8, top: 30, dimension: 2, align: "left", textStyle: { color: theme.quiet, fontSize: 11 }, calculable: true };
  const whole = told.name.replace(/^custom_data\./, "");
  const name = whole.length > 16 ? `${whole.slice(0, 15)}…` : whole;
  if (told.categories?.length && told.categories.length <= 16) {
    return { ...common, type: "piecewise", calculable: false, pieces: told.categories.map((label, i) => ({ value: i, label })),
      inRange: { color: SERIES.concat(marks()).slice(0, told.categories.length) } };
  }
  return { ...common, type: "continuous", min: low, max: high, text: [log ? `log10 ${name}` : name, ""], itemHeight: 180,
    formatter: (value) => number(Number(Number(value).toPrecision(4))), inRange: { color: marks() } };
}
