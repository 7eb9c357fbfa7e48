// Pictures drawn by uPlot in the colours of the theme: lines over time, and points against predictions.
import uPlot from "uplot";
import { html, useEffect, useRef } from "./ui.js";

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

/** `series`: [{ label, colour }], `data`: [times (s), values, ...]. `label` says in words what is shown. */
export function Chart({ series, data, label, height = 160 }) {
  const options = (axis) => ({
    legend: { show: series.length > 1, live: false },
    scales: { y: { range: fromZero } },
    axes: [axis, { ...axis, size: 48 }],
    series: [{}, ...series.map((s) => ({ label: s.label, stroke: resolved(s.colour), width: 2, points: { show: false } }))],
  });
  return html`<${Plot} ...${{ options, data, label, height }} inputs=${[series.map((s) => s.label).join()]} />`;
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
