// One plot over time, drawn by uPlot on a canvas in the colours of the page.

import { html, useEffect, useMemo, useRef } from "./html.js";
import { KINDS } from "./marks.js";

/** @typedef {import("./types.js").Sample} Sample */

/** The library, loaded by the first view that has a plot. @type {any} */
let uPlot = null;

const HEIGHT = 120;
const HOUR = 3600;
const LEAST = 300; // seconds that are shown when there is less

/** @typedef {[number, number]} Span from when to when, Unix seconds */
/** @typedef {import("./marks.js").Mark} Mark */

/**
 * All plots of a view have one crosshair and one span of time: `at` and `span` are theirs.
 * @param {object} props
 * @param {Sample[]} props.samples
 * @param {(keyof Sample)[]} props.fields one line for each
 * @param {(value: number) => string} props.show a value as text
 * @param {string} props.look language and theme: another one is another plot
 * @param {string} props.label what the plot says, in words
 * @param {Mark[]} props.marks what happened
 * @param {number | null} props.at the time that is looked at
 * @param {(at: number | null) => void} props.onLook
 * @param {Span | null} props.span null: the whole
 * @param {(span: Span | null) => void} props.onSpan
 */
export function Plot({ samples, fields, show, look, label, marks, at, onLook, span, onSpan }) {
  const place = useRef(/** @type {HTMLDivElement | null} */ (null));
  const plot = useRef(/** @type {any} */ (null));
  const data = useMemo(
    () => [samples.map((sample) => sample.at), ...fields.map((field) => samples.map((sample) => sample[field]))],
    [samples, fields],
  );
  const drawing = useRef(false);
  const looked = (/** @type {number | null} */ at) => drawing.current || onLook(at);
  const now = useRef(/** @type {Now} */ ({ data, marks, at, span, onLook: looked, onSpan }));
  now.current = { data, marks, at, span, onLook: looked, onSpan };
  useEffect(() => {
    const element = /** @type {HTMLDivElement} */ (place.current);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    let there = true;
    const draw = async () => {
      uPlot ??= (await import("../vendor/uplot-1.6.32.min.js")).uPlot;
      if (!there) return;
      plot.current?.destroy();
      plot.current = new uPlot(options(element, fields, show, now), now.current.data, element);
      point(plot.current, now.current.at);
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
  useEffect(() => {
    if (!plot.current) return;
    drawing.current = true; // the time that is looked at stays, though another one is at its place now
    plot.current.batch(() => plot.current.setData(data)); // also what gives the time its span
    drawing.current = false;
    point(plot.current, now.current.at);
  }, [samples, marks, span?.[0], span?.[1]]);
  useEffect(() => {
    if (plot.current) point(plot.current, at);
  }, [at]);
  return html`<div class="plot" role="img" aria-label=${label} ref=${place}></div>`;
}

/** Put the crosshair at a time; null: away. @param {any} plot @param {number | null} at */
function point(plot, at) {
  const { min, max } = plot.scales.x;
  const seen = at !== null && at >= min && at <= max;
  plot.setCursor({ left: seen ? plot.valToPos(at, "x") : -10, top: seen ? 0 : -10 }, false);
}

/** @typedef {{data: any[], marks: Mark[], at: number | null, span: Span | null, onLook: (at: number | null) => unknown, onSpan: (span: Span | null) => void}} Now */

/**
 * @param {HTMLElement} element
 * @param {(keyof Sample)[]} fields
 * @param {(value: number) => string} show
 * @param {{current: Now}} now what the plot has to show, as it is now
 */
function options(element, fields, show, now) {
  const ink = colour(element, "quiet");
  const line = colour(element, "grid-line");
  const colours = Object.fromEntries(KINDS.map((kind) => [kind, colour(element, `mark-${kind}`)]));
  const grid = { stroke: line, width: 1 };
  const font = `11px ${getComputedStyle(element).fontFamily}`;
  return {
    width: Math.max(element.clientWidth, 50),
    height: HEIGHT,
    legend: { show: false },
    cursor: {
      y: false,
      drag: { x: true, y: false, setScale: false },
      points: { size: 5 },
      bind: { dblclick: () => () => now.current.onSpan(null) },
    },
    padding: [8, 8, 0, 0],
    scales: {
      x: { time: true, range: (/** @type {any} */ _, /** @type {number} */ first, /** @type {number} */ last) => now.current.span ?? whole(first, last) },
      y: { range: (/** @type {any} */ _, /** @type {number} */ __, /** @type {number} */ most) => [0, most > 0 ? most * 1.15 : 1] },
    },
    series: [
      {},
      ...fields.map((_, place) => {
        const stroke = colour(element, `series-${place}`);
        return { stroke, width: 1.75, fill: fields.length === 1 ? faint(stroke) : undefined, points: { size: 4, filter: alone } };
      }),
    ],
    axes: [
      { stroke: ink, grid: { show: false }, ticks: { show: false }, font, size: 22, space: 70, values: times },
      { stroke: ink, grid, ticks: { show: false }, font, size: 52, space: 34, values: (/** @type {any} */ _, /** @type {number[]} */ at) => at.map(show) },
    ],
    hooks: {
      ready: [(/** @type {any} */ plot) => pannable(plot, now)],
      draw: [(/** @type {any} */ plot) => drawMarks(plot, now.current.marks, colours)],
      setCursor: [(/** @type {any} */ plot) => now.current.onLook(plot.cursor.idx == null ? null : plot.data[0][plot.cursor.idx])],
      setSelect: [(/** @type {any} */ plot) => selected(plot, now)],
    },
  };
}

/** Values without neighbours, which no line leads to. @param {any} plot @param {number} series @returns {number[]} */
function alone(plot, series) {
  const values = plot.data[series];
  return values.flatMap((/** @type {number | null} */ value, /** @type {number} */ place) =>
    value != null && values[place - 1] == null && values[place + 1] == null ? [place] : [],
  );
}

/** The span that was drawn over becomes the plots'. @param {any} plot @param {{current: Now}} now */
function selected(plot, now) {
  const { left, width } = plot.select;
  if (width < 3) return;
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  now.current.onSpan([plot.posToVal(left, "x"), plot.posToVal(left + width, "x")]);
}

/** With the shift key the mouse moves the span. @param {any} plot @param {{current: Now}} now */
function pannable(plot, now) {
  plot.over.addEventListener(
    "mousedown",
    (/** @type {MouseEvent} */ event) => {
      if (!event.shiftKey || now.current.span === null) return;
      event.stopImmediatePropagation();
      event.preventDefault();
      const [from, to] = now.current.span;
      const second = plot.over.clientWidth / (to - from);
      const move = (/** @type {MouseEvent} */ moved) => {
        const by = (event.clientX - moved.clientX) / second;
        now.current.onSpan([from + by, to + by]);
      };
      addEventListener("mousemove", move);
      addEventListener("mouseup", () => removeEventListener("mousemove", move), { once: true });
    },
    { capture: true },
  );
}

/** @param {any} plot @param {Mark[]} marks @param {Record<string, string>} colours */
function drawMarks(plot, marks, colours) {
  const { ctx, bbox, scales } = plot;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.lineWidth = ratio;
  for (const { at, kind } of marks) {
    if (at < scales.x.min || at > scales.x.max) continue;
    const x = Math.round(plot.valToPos(at, "x", true)) + 0.5;
    ctx.strokeStyle = ctx.fillStyle = colours[kind];
    ctx.setLineDash([3 * ratio, 3 * ratio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.beginPath(); // a flag, so that it is seen beside a line that rises as steeply
    ctx.moveTo(x, bbox.top - 6 * ratio);
    ctx.lineTo(x + 6 * ratio, bbox.top - 2 * ratio);
    ctx.lineTo(x, bbox.top + 2 * ratio);
    ctx.fill();
  }
  ctx.restore();
}

/** The time that is shown: what there is of the last hour. @param {number} first @param {number} last @returns {Span} */
function whole(first, last) {
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
