// Lines over time, drawn by uPlot in the colours of the theme.
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

/** `series`: [{ label, colour }], `data`: [times (s), values, ...]. `label` says in words what is shown. */
export function Chart({ series, data, label, height = 160 }) {
  const place = useRef(null);
  const plot = useRef(null);
  useEffect(() => {
    const axis = { stroke: resolved("--muted"), grid: { stroke: resolved("--line"), width: 1 }, ticks: { show: false } };
    const lines = series.map((s) => ({
      label: s.label,
      stroke: resolved(s.colour),
      width: 2,
      points: { show: false },
    }));
    const width = place.current.clientWidth || 300;
    plot.current = new uPlot(
      {
        width,
        height,
        legend: { show: series.length > 1, live: false },
        cursor: { show: false },
        scales: { y: { range: (_, low, high) => [Math.min(low ?? 0, 0), Math.max(high ?? 1, 0.1) * 1.1] } },
        axes: [axis, { ...axis, size: 48 }],
        series: [{}, ...lines],
      },
      data,
      place.current,
    );
    const watch = new ResizeObserver(() =>
      plot.current?.setSize({ width: place.current?.clientWidth || width, height }),
    );
    watch.observe(place.current);
    return () => {
      watch.disconnect();
      plot.current.destroy();
      plot.current = null;
    };
  }, [series.map((s) => s.label).join(), height, document.documentElement.dataset.theme]);
  useEffect(() => plot.current?.setData(data), [data]);
  return html`<div class="chart" ref=${place} role="img" aria-label=${label}></div>`;
}
