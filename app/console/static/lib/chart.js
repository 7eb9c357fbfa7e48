// Pictures drawn by uPlot in the colours of the theme: lines and shares over time, and points against predictions.
import uPlot from "uplot";
import { html, useEffect, useRef } from "./ui.js";
import { share } from "./format.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Resolves `light-dark()` to the colour that is in force: a canvas cannot. */
function resolved(name) {
  const probe = document.createElement("span");
  probe.style.color = colour(name);
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const fromZero = (_, low, high) => [Math.min(low ?? 0, 0), Math.max(high ?? 1, 0.1) * 1.1];

/** A plot as wide as its place. `options` gives those of uPlot, `inputs` says when they change. */
function Plot({ options, data, label, height, inputs }) {
  const place = useRef(null);
  const plot = useRef(null);
  useEffect(() => {
    const axis = { stroke: resolved("--muted"), grid: { stroke: resolved("--line"), width: 1 }, ticks: { show: false } };
    const width = place.current.clientWidth || 300;
    plot.current = new uPlot({ width, height, cursor: { show: false }, ...options(axis) }, data, place.current);
    const watch = new ResizeObserver(() =>
      plot.current?.setSize({ width: place.current?.clientWidth || width, height }),
    );
    watch.observe(place.current);
    return () => {
      watch.disconnect();
      plot.current.destroy();
      plot.current = null;
    };
  }, [...inputs, height, document.documentElement.dataset.theme]);
  useEffect(() => plot.current?.setData(data), [data]);
  return html`<div class="chart" ref=${place} role="img" aria-label=${label}></div>`;
}

/** A resolved colour that lets what is behind it through. */
const faded = (name) => resolved(name).replace(/^rgb\((.*)\)$/, "rgba($1, 0.18)");

/**
 * `series`: [{ label, colour, dash }], `data`: [times (s), values, ...]. `label` says in words what is shown.
 * `range`: least and most of the values, or a function of what they are; `values`: words at the axis of a number;
 * `band`: the numbers of two series, from 1, the space between which is filled.
 */
export function Chart({ series, data, label, height = 160, range = fromZero, values, band }) {
  const options = (axis) => ({
    legend: { show: series.length > 1, live: false },
    scales: { y: { range } },
    axes: [axis, { ...axis, size: values ? 56 : 48, ...(values && { values: (_, splits) => splits.map(values) }) }],
    series: [{}, ...series.map((s) => ({ label: s.label, stroke: resolved(s.colour), width: s.dash ? 1.5 : 2, dash: s.dash, points: { show: (u) => u.data[0].length === 1 } }))],
    ...(band && { bands: [{ series: band, fill: faded(series[band[0] - 1].colour) }] }),
  });
  return html`<${Plot} ...${{ options, data, label, height }} inputs=${[series.map((s) => s.label).join(), String(range)]} />`;
}

/** Shares of a whole over time, as columns of `step` seconds. `data`: [times (s), shares of the first part, of the second, ...]. */
export function Shares({ colours, data, step, label, height = 240 }) {
  const [times, ...parts] = data;
  // Each column as high as its part and those below it; the highest is drawn first, so that the lower ones lie on top of it.
  const tops = parts.map((_, i) => times.map((_at, row) => parts.slice(0, i + 1).reduce((sum, part) => sum + part[row], 0))).reverse();
  const middles = times.map((at) => at + step / 2);
  const options = (axis) => ({
    legend: { show: false },
    scales: { x: { range: (u) => [u.data[0][0] - step / 2, u.data[0][u.data[0].length - 1] + step / 2] }, y: { range: [0, 1] } },
    axes: [axis, { ...axis, size: 56, values: (_, splits) => splits.map((v) => share(v)) }],
    series: [{}, ...tops.map((_, i) => {
      const fill = resolved(colours[parts.length - 1 - i]);
      return { stroke: fill, fill, width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.85, 60] }) };
    })],
  });
  return html`<${Plot} ...${{ options, data: [middles, ...tops], label, height }} inputs=${[parts.length, step]} />`;
}

/** A reliability diagram. `bins`: { predicted, rate, low, high }, by their predictions; `words`: of the diagonal and the points. */
export function Reliability({ bins, words, label, height = 320 }) {
  const most = Math.min(1, 1.1 * Math.max(0.05, ...bins.map((b) => Math.max(b.predicted, b.high))));
  const x = [0, ...bins.map((b) => b.predicted), most];
  const data = [x, x, [null, ...bins.map((b) => b.rate), null]];
  const options = (axis) => {
    const stroke = resolved("--accent");
    const intervals = (u) => {
      u.ctx.save();
      u.ctx.strokeStyle = stroke;
      u.ctx.lineWidth = 2 * devicePixelRatio;
      for (const bin of bins) {
        const at = u.valToPos(bin.predicted, "x", true);
        u.ctx.beginPath();
        u.ctx.moveTo(at, u.valToPos(bin.low, "y", true));
        u.ctx.lineTo(at, u.valToPos(bin.high, "y", true));
        u.ctx.stroke();
      }
      u.ctx.restore();
    };
    return {
      legend: { show: true, live: false },
      scales: { x: { time: false, range: [0, most] }, y: { range: [0, most] } },
      axes: [axis, { ...axis, size: 48 }],
      series: [
        {},
        { label: words[0], stroke: resolved("--muted"), dash: [6, 6], points: { show: false } },
        { label: words[1], stroke, paths: () => null, points: { show: true, size: 8, fill: stroke } },
      ],
      hooks: { draw: [intervals] },
    };
  };
  return html`<${Plot} ...${{ options, data, label, height }} inputs=${[bins, words.join()]} />`;
}
