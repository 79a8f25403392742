// The report in the browser: unpacks its own data, draws plots, sorts and filters the table, opens candidates.
"use strict";

const COLUMNS = ["candidate", "title", "origin", "state", "value", "error", "gain", "gainError", "gainParent", "confirmed",
  "confirmedGain", "test", "testGain", "elite", "mark", "kind", "reason", "order", "hours", "maker", "sort"];
const PAGE = 100;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const byId = (id) => document.getElementById(id);
const short = (id) => id.replace(/generation_0*(\d+)\/candidate_0*(\d+)/, "g$1/c$2");

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const state = {data: null, candidates: [], run: 0, sort: "order", down: false, page: 0, blocks: new Map()};

function text(run, value) {
  if (value === null || value === undefined) return "";
  if (run.metric.percent) return `${(100 * value).toFixed(1)} %`;
  return Math.abs(value) >= 1e6 ? value.toPrecision(4) : value.toFixed(4);
}

function scale(run) { return run.metric.percent ? 100 : 1; }

function axis(run) {
  return {label: `${run.metric.name}${run.metric.percent ? ", %" : ""}`, transform: (value) => value * scale(run), grid: true};
}

function signed(run, value) {
  if (value === null || value === undefined) return "";
  const sign = value >= 0 ? "+" : "";
  if (run.metric.percent) return sign + (100 * value).toFixed(1);
  return sign + (Math.abs(value) >= 1e6 ? value.toPrecision(4) : value.toFixed(4));
}

// ---- a candidate

async function pageOf(number) {
  const size = 40, block = Math.floor(number / size);
  const packed = document.querySelectorAll("script.block")[block];
  if (!packed) return null;
  if (!state.blocks.has(block)) state.blocks.set(block, await unpack(packed.textContent));
  return state.blocks.get(block)[number % size];
}

function find(run, id) {
  return state.candidates.find((one) => one.run === run && (one.candidate === id || short(one.candidate) === id));
}

async function fill(place, one) {
  const page = await pageOf(one.number);
  // Escaped where it was written, by Jinja; the policy of the page runs no script that came in here all the same.
  place.innerHTML = page ?? "<p>Left out of this file, to keep it small: python -m pipeline show has it.</p>";
  for (const link of place.querySelectorAll("[data-open]")) link.dataset.run = one.run;
  for (const curve of place.querySelectorAll("[data-curve]")) drawCurve(curve, one);
}

function drawCurve(place, one) {
  const ours = JSON.parse(place.dataset.curve), theirs = JSON.parse(place.dataset.parentCurve), run = state.data.runs[one.run];
  place.replaceChildren(Plot.plot({className: "plot", height: 220, width: Math.max(300, Math.min(640, place.clientWidth || 640)),
    x: {label: "step"}, y: {label: "first quantity of metrics.jsonl", grid: true},
    marks: [
      Plot.line(run.curve, {stroke: css("--orange"), strokeDasharray: "4 3"}),
      Plot.line(theirs, {stroke: css("--green"), strokeDasharray: "2 3"}),
      Plot.line(ours, {stroke: css("--blue")}),
      Plot.tip(ours, Plot.pointerX({x: "0", y: "1", fill: css("--ground")})),
    ]}), key([["blue", short(one.candidate)], ...(theirs.length ? [["green", `parent ${place.dataset.parent}`]] : []), ["orange", "baseline"]]));
}

async function open(one) {
  byId("candidate-title").textContent = `${short(one.candidate)}: ${one.title}`;
  await fill(byId("candidate-body"), one);
  const dialog = byId("candidate");
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function go(one) { location.hash = `candidate=${one.run}/${one.candidate}`; }

async function follow() {
  const found = /^#candidate=(\d+)\/(.+)$/.exec(location.hash);
  const one = found && find(Number(found[1]), decodeURIComponent(found[2]));
  if (one) await open(one);
  else if (byId("candidate").open) byId("candidate").close();
}

// ---- the table

const SHOWN = [
  ["candidate", "id", (run, one) => element("a", {href: `#candidate=${one.run}/${one.candidate}`}, short(one.candidate)), "text"],
  ["title", "idea", (run, one) => one.title, "title"],
  ["state", "state", (run, one) => one.elite ? "elite" : one.mark || (one.state === "failed" ? one.kind : one.state), "text"],
  ["value", "one trial", (run, one) => text(run, one.value), "number"],
  ["gain", "over baseline", (run, one) => one.gain === null ? "" : `${signed(run, one.gain)} ± ${signed(run, one.gainError).slice(1)}`, "number"],
  ["gainParent", "over parent", (run, one) => signed(run, one.gainParent), "number"],
  ["confirmedGain", "other seeds", (run, one) => signed(run, one.confirmedGain), "number"],
  ["testGain", "test split", (run, one) => signed(run, one.testGain), "number"],
  ["origin", "origin", (run, one) => one.origin, "text"],
  ["sort", "changes", (run, one) => one.sort === "none" ? "" : one.sort, "text"],
  ["order", "outcome", (run, one) => one.order === null ? "" : String(one.order), "number"],
];

function filtered() {
  const wanted = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean), which = byId("state").value;
  const found = state.candidates.filter((one) => one.run === state.run
    && (!which || (which === "elite" ? one.elite : one.state === which))
    && wanted.every((word) => one.words.includes(word)));
  const name = state.sort, sign = state.down ? -1 : 1;
  return found.sort((a, b) => {
    const [x, y] = [a[name], b[name]];
    if (x === y) return a.number - b.number;
    if (x === null || x === "") return 1;
    if (y === null || y === "") return -1;
    return sign * (x < y ? -1 : 1);
  });
}

function drawTable() {
  const found = filtered(), run = state.data.runs[state.run], pages = Math.max(1, Math.ceil(found.length / PAGE));
  state.page = Math.min(state.page, pages - 1);
  byId("count").textContent = `${found.length} of ${run.rows.length} candidates`;
  byId("page").textContent = `page ${state.page + 1} of ${pages}`;
  byId("before").disabled = state.page === 0;
  byId("after").disabled = state.page >= pages - 1;
  const heads = SHOWN.map(([name, label]) => {
    const sorted = name === state.sort;
    const button = element("button", {type: "button", onclick: () => {
      if (sorted) state.down = !state.down;
      else [state.sort, state.down] = [name, name !== "order" && name !== "candidate" && name !== "title"];
      drawTable();
      document.querySelector(`[data-column="${name}"] button`).focus();
    }}, label + (sorted ? (state.down ? " ▼" : " ▲") : ""));
    return element("th", {scope: "col", "data-column": name, "aria-sort": sorted ? (state.down ? "descending" : "ascending") : "none"}, button);
  });
  document.querySelector("#candidates thead").replaceChildren(element("tr", {}, ...heads));
  const shown = found.slice(state.page * PAGE, (state.page + 1) * PAGE);
  document.querySelector("#candidates tbody").replaceChildren(...shown.map((one) =>
    element("tr", {title: one.reason}, ...SHOWN.map(([, , cell, kind]) => element("td", {class: kind}, cell(run, one))))));
}

// ---- plots

function key(entries) {
  return element("p", {}, ...entries.flatMap(([colour, label]) => [element("span", {class: `key ${colour}`}), label]));
}

const whole = (low, high, most) => d3.ticks(low, high, most).filter(Number.isInteger);

function figure(title, note, plot, ...more) {
  const made = element("figure", {}, element("figcaption", {}, title), ...(note ? [element("p", {}, note)] : []));
  if (plot) {
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", title);
    made.append(plot, ...more);
  } else made.append(element("p", {}, "Nothing to show yet."));
  return made;
}

function limits(run, points) {
  // One bad candidate must not flatten the rest: the worse side is cut at two distances from the baseline to the best.
  const wanted = [...run.single.map((one) => one[1]), ...run.confirmed.map((one) => one[1])];
  const base = run.baseline.value, sd = run.baseline.sd ?? 0;
  if (base !== null) wanted.push(base, base - 2 * sd, base + 2 * sd);
  const good = run.metric.up ? Math.max(...wanted) : Math.min(...wanted);
  const from = base ?? d3.median(points, (one) => one.value);
  const edge = from + 2 * (from - good || (run.metric.up ? -1 : 1) * Math.abs(good || 1));
  const inside = points.map((one) => one.value).filter((value) => run.metric.up ? value >= edge : value <= edge);
  const near = [...wanted.filter((value) => run.metric.up ? value >= edge : value <= edge), ...inside];
  return d3.extent(near.length ? near : wanted);
}

function steps(corners, end) {
  const found = corners.map(([at, value, name]) => ({at, value, name}));
  return found.length ? [...found, {...found[found.length - 1], at: end}] : [];
}

function drawProgress(run, width) {
  const points = state.candidates.filter((one) => one.run === state.run && one.value !== null && one.order !== null);
  if (!points.length && run.baseline.value === null) return figure("Best so far", "", null);
  const end = Math.max(1, ...state.candidates.filter((one) => one.run === state.run).map((one) => one.order ?? 0));
  const [low, high] = limits(run, points), pad = (high - low || 1) * 0.06, domain = [low - pad, high + pad];
  const shown = points.filter((one) => one.value >= domain[0] && one.value <= domain[1]);
  const base = run.baseline, y = (value) => value * scale(run);
  const plot = Plot.plot({className: "plot", width, height: 340, marginLeft: 60,
    x: {label: "outcomes, failures included →", domain: [0.5, end + 0.5], ticks: whole(1, end, 12), tickFormat: "d"},
    y: {label: `${run.metric.name}${run.metric.percent ? ", %" : ""} (${run.metric.up ? "higher" : "lower"} is better)`, domain: domain.map(y), grid: true},
    marks: [
      ...(base.value !== null && base.sd && base.n > 1 ? [Plot.rect([0], {x1: 0.5, x2: end + 0.5, y1: Math.max(y(base.value - 2 * base.sd), y(domain[0])), y2: Math.min(y(base.value + 2 * base.sd), y(domain[1])), fill: css("--orange"), fillOpacity: 0.15})] : []),
      ...(base.value !== null ? [Plot.ruleY([y(base.value)], {stroke: css("--orange"), strokeDasharray: "5 4"})] : []),
      Plot.dot(shown, {x: "order", y: (one) => y(one.value), r: 3.5, fill: (one) => one.elite ? css("--green") : css("--soft"), fillOpacity: 0.75}),
      Plot.line(steps(run.single, end), {x: "at", y: (one) => y(one.value), curve: "step-after", stroke: css("--blue"), strokeWidth: 2, clip: true}),
      Plot.line(steps(run.confirmed, end), {x: "at", y: (one) => y(one.value), curve: "step-after", stroke: css("--green"), strokeWidth: 2, strokeDasharray: "6 4", clip: true}),
      Plot.tip(shown, Plot.pointer({x: "order", y: (one) => y(one.value), fill: css("--ground"), title: (one) => `${short(one.candidate)} ${one.title}\n${text(run, one.value)}, ${signed(run, one.gain)} over the baseline\nclick opens it`})),
    ]});
  clickable(plot);
  const hidden = points.length - shown.length, made = figure("Best so far",
    hidden ? `${hidden} worse off the scale.` : "", plot, key([["grey", "candidates, one trial each"], ["blue", "best by one trial (partly luck)"], ["green", "best confirmed by other seeds"], ["orange", "baseline ± 2 deviations between seeds"]]));
  made.className = "first";
  return made;
}

function clickable(plot) {
  plot.addEventListener("click", () => { if (plot.value && plot.value.candidate) go(plot.value); });
}

function drawFunnel(run, width) {
  if (!run.funnel.length) return figure("Where candidates stopped", "", null);
  const order = ["proposed", "implemented", "passed smoke", "trained", "scored", "better"];
  return figure("Where candidates stopped", "By generation, from left to right; “better” is clearly better than the baseline by one trial.", Plot.plot({className: "plot", width, height: 260, marginBottom: 55,
    fx: {domain: order, label: null, ...(width < 560 ? {tickRotate: -30} : {})}, x: {axis: null, type: "band"}, y: {label: "candidates", grid: true},
    marks: [Plot.barY(run.funnel, {fx: "1", x: "0", y: "2", fill: css("--blue"), title: ([generation, step, count]) => `generation ${generation}: ${count} ${step}`, tip: {fill: css("--ground")}}), Plot.ruleY([0])]}));
}

function drawFailures(run, width) {
  if (!run.failures.length) return figure("What failed", "No candidate failed.", Plot.plot({className: "plot", width, height: 30, marks: []}));
  const plot = Plot.plot({className: "plot", width, marginLeft: 160, height: 60 + 24 * run.failures.length,
    x: {label: "candidates", grid: true, tickFormat: "d", ticks: Math.min(6, d3.max(run.failures, (one) => one.count))}, y: {label: null, domain: run.failures.map((one) => `${one.stage}/${one.kind}`)},
    marks: [Plot.barX(run.failures, {x: "count", y: (one) => `${one.stage}/${one.kind}`, fill: css("--orange"), tip: {fill: css("--ground")}}), Plot.ruleX([0])]});
  plot.addEventListener("click", () => { if (plot.value) filterBy(plot.value.kind); });
  return figure("What failed", "A click lists them.", plot);
}

function drawNarrowing(run, width) {
  const names = ["distinct code, share of the implemented", "commonest idea, share of all", "words that two ideas have in common"];
  const points = run.narrowing.flatMap(([generation, ...values]) => values.map((value, number) => ({generation, value, name: names[number]}))).filter((one) => one.value !== null);
  if (!points.length) return figure("How different the ideas are", "", null);
  const colours = [css("--blue"), css("--orange"), css("--green")];
  return figure("How different the ideas are", "", Plot.plot({className: "plot", width, height: 240,
    x: {label: "generation", ticks: whole(0, d3.max(run.narrowing, (one) => one[0]), 10), tickFormat: "d"}, y: {label: "%", domain: [0, 100], grid: true},
    marks: names.flatMap((name, number) => {
      const ours = points.filter((one) => one.name === name), place = {x: "generation", y: (one) => 100 * one.value, stroke: colours[number]};
      return [Plot.line(ours, {...place, strokeDasharray: ["0", "6 4", "2 3"][number]}), Plot.dot(ours, {...place, title: (one) => `${name}: ${(100 * one.value).toFixed(0)} %`, tip: {fill: css("--ground")}})];
    })}), key([["blue", names[0]], ["orange", names[1]], ["green", names[2]]]));
}

function drawLineage(run, width) {
  const places = new Map(state.candidates.filter((one) => one.run === state.run && one.value !== null).map((one) => [one.candidate, {...one, x: Number(/(\d+)\//.exec(one.candidate)[1])}]));
  if (run.baseline.value !== null) places.set("baseline", {candidate: "baseline", title: "the unmodified code", value: run.baseline.value, x: -1});
  const links = run.lineage.filter(([child, parent]) => places.has(child) && places.has(parent)).map(([child, parent]) => ({child: places.get(child), parent: places.get(parent)}));
  if (!links.length) return figure("Lineage of the best", "", null);
  const nodes = [...new Set(links.flatMap((one) => [one.child, one.parent]))];
  const plot = Plot.plot({className: "plot", width, height: 280, marginTop: 36, marginLeft: 60, marginRight: 50, x: {label: "generation (baseline at -1)", tickFormat: "d", ticks: whole(-1, d3.max(nodes, (one) => one.x), 12)}, y: axis(run),
    marks: [
      Plot.arrow(links, {x1: (one) => one.parent.x, y1: (one) => one.parent.value, x2: (one) => one.child.x, y2: (one) => one.child.value, stroke: css("--soft"), insetEnd: 6}),
      Plot.dot(nodes, {x: "x", y: "value", r: 5, fill: (one) => one.elite ? css("--green") : one.candidate === "baseline" ? css("--orange") : css("--blue")}),
      Plot.text(nodes, {x: "x", y: "value", text: (one) => short(one.candidate), dy: -11}),
      Plot.tip(nodes, Plot.pointer({x: "x", y: "value", fill: css("--ground"), title: (one) => `${short(one.candidate)} ${one.title}\n${text(run, one.value)}`})),
    ]});
  plot.addEventListener("click", () => { if (plot.value && plot.value.candidate !== "baseline") go(plot.value); });
  return figure("Lineage of the best", "A click opens a candidate.", plot);
}

function drawCost(run, width) {
  if (!run.single.length) return figure("What each improvement took", "", null);
  const points = run.single.map(([, value, candidate, hours]) => ({...find(state.run, candidate), value, hours}));
  const plot = Plot.plot({className: "plot", width, height: 240, marginLeft: 60, x: {label: `${run.device} hours of the search`, nice: true}, y: axis(run),
    marks: [Plot.line(points, {x: "hours", y: "value", curve: "step-after", stroke: css("--blue")}), Plot.dot(points, {x: "hours", y: "value", fill: css("--blue"), title: (one) => `${short(one.candidate)} ${one.title}\n${text(run, one.value)} after ${one.hours.toPrecision(3)} h`, tip: {fill: css("--ground")}})]});
  clickable(plot);
  return figure("What each improvement took", "Best by one trial.", plot);
}

function drawSlots(run, width) {
  if (!run.slots.length) return figure("Slots in use", "", null);
  const share = run.slots_used === null ? "" : `${(100 * run.slots_used).toFixed(0)} % of ${run.slots_wide} slots (the most at once).`;
  return figure("Slots in use", share, Plot.plot({className: "plot", width, height: 200, x: {label: "hours since the first start"}, y: {label: "jobs at work", grid: true, interval: 1, tickFormat: "d"},
    marks: [Plot.areaY(run.slots, {x: "0", y: "1", curve: "step-after", fill: css("--blue"), fillOpacity: 0.35}), Plot.ruleY([0])]}));
}

const LEARNING = [
  ["Reward of the ideas", "By step of the policy; the band is from the quantile 0.1 to 0.9.", "reward", [["reward_mean", "mean"], ["reward_best", "best of the step"]], 1],
  ["How different the policy's ideas are", "", "%", [["distinct_share", "distinct, share of all"], ["common_share", "commonest, share of all"], ["failed_share", "failed, share of all"]], 100],
  ["How the policy changes", "", "nats per token", [["entropy", "entropy"], ["kl", "KL to the start"]], 1],
  ["Length", "Mean over the ideas.", "tokens", [["thinking", "thinking"], ["idea_length", "idea"]], 1],
  ["Update", "Gradients that were cut, and importance weights of late ideas that were truncated.", "%", [["clipped", "clipped, share of tokens"], ["truncated", "truncated, share of ideas"]], 100],
  ["Age of the ideas of an update", "Mean over the ideas; 0 for those of its own step.", "steps", [["staleness", "age"]], 1],
  ["What the ideator costs", "", "hours", [["execute_h", "executing the ideas"], ["sample_h", "sampling"], ["update_h", "learning"]], 1],
];

function drawLearning(run, width) {
  const colours = ["blue", "orange", "green"];
  return run.learning.length === 0 ? [] : LEARNING.map(([title, note, unit, series, factor], number) => {
    const band = run.learning.filter((one) => one.reward_low !== null);
    const y = unit === "hours" ? `${run.device} hours` : unit;
    const marks = series.flatMap(([name, label], at) => {
      const points = run.learning.filter((one) => one[name] !== null).map((one) => ({step: one.step, value: factor * one[name], label}));
      const place = {x: "step", y: "value", stroke: css(`--${colours[at]}`)};
      return [Plot.line(points, {...place, strokeDasharray: ["0", "6 4", "2 3"][at]}), Plot.dot(points, {...place, title: (one) => `step ${one.step}, ${label}: ${one.value.toPrecision(3)}`, tip: {fill: css("--ground")}})];
    });
    if (number === 0) marks.unshift(Plot.areaY(band, {x: "step", y1: "reward_low", y2: "reward_high", fill: css("--blue"), fillOpacity: 0.15}));
    const plot = Plot.plot({className: "plot", width, height: 220, marginLeft: 50, x: {label: "step of the policy", tickFormat: "d", ticks: whole(0, d3.max(run.learning, (one) => one.step), 10)},
      y: {label: y, grid: true, ...(factor === 100 ? {domain: [0, 100]} : {})}, marks});
    return figure(title, note, plot, key(series.map(([, label], at) => [colours[at], label])));
  });
}

function drawComparison(by, label, width) {
  const lines = state.data.compare.lines.filter((one) => one.by === by);
  const colours = [css("--blue"), css("--orange"), css("--green"), css("--soft")];
  const percent = scale(state.data.runs[0]);
  const marks = lines.flatMap((line, number) => {
    const points = line.points.map(([at, value, half]) => ({at, value: percent * value, half: percent * (half ?? 0), label: line.label}));
    const colour = colours[number % colours.length];
    return [Plot.areaY(points, {x: "at", y1: (one) => one.value - one.half, y2: (one) => one.value + one.half, curve: "step-after", fill: colour, fillOpacity: 0.15, clip: true}),
      Plot.line(points, {x: "at", y: "value", curve: "step-after", stroke: colour, strokeDasharray: ["0", "6 4", "2 3", "8 3 2 3"][number % 4], strokeWidth: 2})];
  });
  // Few runs have wide intervals, which must not flatten the lines.
  const [low, high] = d3.extent(lines.flatMap((line) => line.points.map(([, value]) => percent * value))), room = (high - low || Math.abs(high) || 1) / 2;
  const names = key(lines.map((line, number) => [["blue", "orange", "green", "grey"][number % 4], `${line.label}, ${line.runs === 1 ? "1 run" : `${line.runs} runs`}`]));
  return figure(`Methods at equal ${label}`, "Best by one trial, mean over runs; 95 % intervals over runs where there are two or more.", Plot.plot({className: "plot", width, height: 280, marginLeft: 60, x: {label}, y: {label: axis(state.data.runs[0]).label, grid: true, domain: [low - room, high + room]}, marks}), names);
}

function drawPlots() {
  const place = byId("charts"), run = state.data.runs[state.run];
  if (!run) return;
  const wide = Math.max(300, place.clientWidth), half = wide < 900 ? wide : Math.floor((wide - 32) / 2);
  const charts = [drawProgress(run, wide), drawLineage(run, half), drawFunnel(run, half), drawFailures(run, half), drawNarrowing(run, half), drawCost(run, half), drawSlots(run, half), ...drawLearning(run, half)];
  if (state.data.compare.lines.length) {
    charts.push(drawComparison("candidates", "outcomes, failures included", half), drawComparison("device_h", `${run.device} hours`, half));
  } else if (state.data.compare.why_not) charts.push(element("p", {class: "warning"}, `Not compared: ${state.data.compare.why_not}.`));
  place.replaceChildren(...charts);
  for (const one of document.querySelectorAll(".yields")) one.hidden = Number(one.dataset.run) !== state.run;
}

// ---- parts that answer a person

function filterBy(words) {
  byId("search").value = words;
  byId("state").value = "";
  state.page = 0;
  drawTable();
  location.hash = "table";
}

async function drawPair() {
  const place = byId("pair");
  const chosen = ["first", "second"].map((id) => find(state.run, byId(id).value.trim().split(" ")[0])).filter(Boolean);
  place.replaceChildren();
  for (const one of chosen) {
    const box = element("div", {}, element("h3", {}, `${short(one.candidate)}: ${one.title}`)), body = element("div");
    box.append(body);
    place.append(box);
    await fill(body, one);
  }
}

function choose(run) {
  state.run = run;
  state.page = 0;
  const names = state.candidates.filter((one) => one.run === run).slice(0, 2000);
  byId("names").replaceChildren(...names.map((one) => element("option", {value: short(one.candidate)}, one.title)));
  drawPlots();
  drawTable();
}

function listen() {
  byId("search").addEventListener("input", () => { state.page = 0; drawTable(); });
  byId("state").addEventListener("change", () => { state.page = 0; drawTable(); });
  byId("before").addEventListener("click", () => { state.page -= 1; drawTable(); });
  byId("after").addEventListener("click", () => { state.page += 1; drawTable(); });
  byId("run").addEventListener("change", (event) => choose(Number(event.target.value)));
  for (const id of ["first", "second"]) byId(id).addEventListener("change", drawPair);
  byId("close").addEventListener("click", () => byId("candidate").close());
  byId("candidate").addEventListener("close", () => {
    if (location.hash.startsWith("#candidate=")) history.replaceState(null, "", "#table");
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-open], [data-filter]");
    if (!link) return;
    event.preventDefault();
    const run = link.dataset.run ? Number(link.dataset.run) : state.run;
    if (run !== state.run) { byId("run").value = run; choose(run); }
    if (link.dataset.open) { const one = find(run, link.dataset.open); if (one) go(one); } else filterBy(link.dataset.filter);
  });
  addEventListener("hashchange", follow);
  addEventListener("beforeprint", drawPlots);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawPlots);
  let waiting;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(drawPlots, 200); });
}

async function start() {
  state.data = await unpack(byId("data").textContent);
  for (const [run, one] of state.data.runs.entries()) {
    for (const row of one.rows) {
      const made = Object.fromEntries(COLUMNS.map((name, at) => [name, row[at]]));
      made.run = run;
      made.number = state.candidates.length;
      made.words = [short(made.candidate), made.title, made.origin, made.kind, made.maker, made.mark, made.sort, made.elite ? "elite" : ""].join(" ").toLowerCase();
      state.candidates.push(made);
    }
  }
  const choice = byId("run");
  choice.replaceChildren(...state.data.runs.map((one, at) => element("option", {value: at}, one.name)));
  byId("run-choice").hidden = state.data.runs.length < 2;
  listen();
  if (state.data.runs.length) choose(0);
  await follow();
  document.documentElement.dataset.ready = "yes";
}

start();
