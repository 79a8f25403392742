// Curves of the trials that run now, redrawn when they grow. Everything else on the page is refreshed by htmx.
"use strict";

const drawn = new Map();

function draw(place, curve) {
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--blue").trim();
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
  const old = drawn.get(curve.name);
  if (old) { old.setData([curve.steps, curve.values]); return; }
  const axis = {stroke: ink, grid: {stroke: "#8884"}};
  drawn.set(curve.name, new uPlot({title: curve.name, width: Math.min(420, place.clientWidth), height: 200, axes: [axis, axis],
    scales: {x: {time: false}}, series: [{label: "step"}, {label: curve.metric, stroke: colour}]}, [curve.steps, curve.values], place));
}

async function refresh() {
  const place = document.getElementById("curves");
  if (!place || document.hidden) return;
  const answer = await fetch(place.dataset.source);
  if (!answer.ok) return;
  const curves = await answer.json(), names = new Set(curves.map((one) => one.name));
  for (const [name, plot] of drawn) if (!names.has(name)) { plot.destroy(); drawn.delete(name); }
  for (const curve of curves) draw(place, curve);
}

document.addEventListener("DOMContentLoaded", () => {
  document.documentElement.dataset.ready = "yes";
  refresh();
  setInterval(refresh, 2000);
});
