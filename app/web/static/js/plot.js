// One plot over time, drawn by uPlot on a canvas in the colours of the page.

import { html, useEffect, useRef } from "./html.js";

/** @typedef {import("./types.js").Sample} Sample */

/** The library, loaded by the first view that has a plot. @type {any} */
let uPlot = null;

const HEIGHT = 120;
const HOUR = 3600;
const LEAST = 300; // seconds that are shown when there is less

/**
 * @param {object} props
 * @param {Sample[]} props.samples
 * @param {(keyof Sample)[]} props.fields one line for each
 * @param {(value: number) => string} props.show a value as text
 * @param {string} props.look language and theme: another one is another plot
 * @param {string} props.label what the plot says, in words
 */
export function Plot({ samples, fields, show, look, label }) {
  const place = useRef(/** @type {HTMLDivElement | null} */ (null));
  const plot = useRef(/** @type {any} */ (null));
  const data = [samples.map((sample) => sample.at), ...fields.map((field) => samples.map((sample) => sample[field]))];
  const newest = useRef(data);
  newest.current = data;
  useEffect(() => {
    const element = /** @type {HTMLDivElement} */ (place.current);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    let there = true;
    const draw = async () => {
      uPlot ??= (await import("../vendor/uplot-1.6.32.min.js")).uPlot;
      if (!there) return;
      plot.current?.destroy();
      plot.current = new uPlot(options(element, fields, show), newest.current, element);
    };
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height: HEIGHT }));
    draw();
    resized.observe(element);
    dark.addEventListener("change", draw);
    return () => {
      there = false;
      resized.disconnect();
      dark.removeEventListener("change", draw);
      plot.current?.destroy();
      plot.current = null;
    };
  }, [look]);
  useEffect(() => plot.current?.setData(data), [samples]);
  return html`<div class="plot" role="img" aria-label=${label} ref=${place}></div>`;
}

/**
 * @param {HTMLElement} element
 * @param {(keyof Sample)[]} fields
 * @param {(value: number) => string} show
 */
function options(element, fields, show) {
  const ink = colour(element, "quiet");
  const line = colour(element, "grid-line");
  const grid = { stroke: line, width: 1 };
  const font = `11px ${getComputedStyle(element).fontFamily}`;
  return {
    width: Math.max(element.clientWidth, 50),
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 5 } },
    padding: [8, 8, 0, 0],
    scales: {
      x: { time: true, range: span },
      y: { range: (/** @type {any} */ _, /** @type {number} */ __, /** @type {number} */ most) => [0, most > 0 ? most * 1.15 : 1] },
    },
    series: [
      {},
      ...fields.map((_, place) => {
        const stroke = colour(element, `series-${place}`);
        return { stroke, width: 1.75, fill: fields.length === 1 ? faint(stroke) : undefined, points: { show: false } };
      }),
    ],
    axes: [
      { stroke: ink, grid: { show: false }, ticks: { show: false }, font, size: 22, space: 70, values: times },
      { stroke: ink, grid, ticks: { show: false }, font, size: 52, space: 34, values: (/** @type {any} */ _, /** @type {number[]} */ at) => at.map(show) },
    ],
  };
}

/** The time that is shown: what there is of the last hour. @param {any} _ @param {number} first @param {number} last */
function span(_, first, last) {
  return [Math.max(last - HOUR, Math.min(first, last - LEAST)), last];
}

/** @param {any} _ @param {number[]} at Unix seconds */
function times(_, at) {
  return at.map((seconds) => new Date(seconds * 1000).toLocaleTimeString("sv-SE", { hour: "2-digit", minute: "2-digit" }));
}

/** The colour that a class has here, as the browser computes it. @param {HTMLElement} element @param {string} name */
function colour(element, name) {
  const probe = element.appendChild(document.createElement("span"));
  probe.className = name;
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** @param {string} rgb such as `rgb(1, 2, 3)` */
function faint(rgb) {
  return rgb.replace(/^rgb\((.*)\)$/, "rgba($1, 0.14)");
}
