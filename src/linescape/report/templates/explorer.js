(async () => {
  "use strict";
  const root = document.getElementById("explorer");
  if (!("DecompressionStream" in window)) { // browsers from before 2023
    root.textContent = "This browser cannot show the curves here. tables/lines.csv has them.";
    return;
  }
  const packed = Uint8Array.from(atob(document.getElementById("explorer-data").textContent), (c) => c.charCodeAt(0));
  const all = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
  const form = root.querySelector("form");
  const svg = root.querySelector("svg"), readout = root.querySelector(".readout");
  const [ARM, LABEL, DATA, MEASURE, BN, SEED, GRID, MEAN, ERROR] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
  const EVERY = "every line", units = {
    __proto__: null, cross_entropy: "loss, nats", error: "error, %",
    binary_cross_entropy: "loss, nats", binary_error: "error, %",
  };
  const names = { __proto__: null, whole: "whole network", treatments: "whole network, by treatment" };
  const titles = new Map(all.arms), words = (name) => names[name] ?? name.replaceAll("_", " ");
  let cursor = null, view = null;

  const fill = (name, options) => {
    const box = form.elements[name];
    box.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
    box.parentElement.hidden = options.length < 2;
    return box;
  };
  fill("arm", all.arms);
  fill("other", [["", "nothing"], ...all.arms]);
  for (const name of ["data", "measure"]) fill(name, all[name].map((v) => [v, words(v)]));
  form.elements.data.value = all.data.includes("test") ? "test" : all.data[0];
  labels();

  function labels() { // those of the chosen arm
    const box = form.elements.label, old = box.value, arm = form.elements.arm.value;
    const own = all.label.filter((label) => all.curves.some((c) => c[ARM] === arm && c[LABEL] === label));
    fill("label", [...own.map((v) => [v, words(v)]), ...(own.length > 1 ? [[EVERY, EVERY]] : [])]);
    box.value = own.includes(old) || (old === EVERY && own.length > 1) ? old : own[0] ?? "";
    treatments();
  }

  function treatments() { // of BatchNorm, those of the chosen line
    const box = form.elements.batchnorm, old = box.value, arm = form.elements.arm.value, label = form.elements.label.value;
    const lines = all.curves.filter((c) => c[ARM] === arm && (label === EVERY ? c[LABEL] !== "treatments" : c[LABEL] === label));
    const own = all.batchnorm.filter((treatment) => lines.some((c) => c[BN] === treatment));
    fill("batchnorm", own.map((v) => [v, words(v)]));
    box.value = own.includes(old) ? old : own[0] ?? "";
  }

  const number = (v) => (v === "inf" ? Infinity : v === null ? NaN : v);
  const show = (v) => (Number.isNaN(v) ? "NaN" : !Number.isFinite(v) ? "∞" : v.toPrecision(4));
  const element = (name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };

  function chosen() { // [{name, colour, width, opacity, dash, alphas, mean, error}]
    const want = Object.fromEntries(["arm", "other", "label", "data", "measure", "batchnorm"].map((n) => [n, form.elements[n].value]));
    const fits = (c, arm) => c[ARM] === arm && c[DATA] === want.data && c[MEASURE] === want.measure && c[BN] === want.batchnorm;
    const line = (c, name, colour, extra) => ({ name, colour, alphas: all.grids[c[GRID]], mean: c[MEAN].map(number), error: c[ERROR].map(number), width: 2.2, opacity: 1, dash: "", ...extra });
    const found = [];
    if (want.label === EVERY) {
      let index = 0;
      const own = all.curves.filter((c) => fits(c, want.arm) && c[LABEL] !== "treatments"); // the whole line again
      for (const c of own.some((c) => c[SEED] === null) ? own.filter((c) => c[SEED] === null) : own)
        found.push(line(c, words(c[LABEL]), c[LABEL] === "whole" ? "var(--ink)" : `var(--c${index++ % 6})`, {}));
      return found;
    }
    [[want.arm, "var(--c0)"], [want.other, "var(--c1)"]].forEach(([arm, colour], index) => {
      if (!arm || (index && arm === want.arm)) return;
      const own = all.curves.filter((c) => fits(c, arm) && c[LABEL] === want.label);
      const several = own.filter((c) => c[SEED] !== null).length > 1;
      if (!own.some((c) => c[SEED] !== null)) found.push(...own.map((c) => line(c, titles.get(arm), colour, {})));
      for (const c of own) {
        if (c[SEED] === null && several) found.push(line(c, `${titles.get(arm)}, mean`, colour, {}));
        if (c[SEED] !== null) found.push(line(c, several ? `seed ${c[SEED]}` : titles.get(arm), colour, several ? { width: 0.9, opacity: 0.7 } : {}));
      }
    });
    return found;
  }

  function draw() {
    const lines = chosen(), measure = form.elements.measure.value;
    form.elements.other.parentElement.hidden = all.arms.length < 2 || form.elements.label.value === EVERY;
    const chance = (all.chance[form.elements.arm.value] ?? {})[measure] ?? null;
    const width = svg.clientWidth, height = svg.clientHeight, left = 44, right = 10, top = 24, bottom = 34;
    if (width < 100) return; // hidden, as in print
    const finite = lines.flatMap((l) => l.mean).filter(Number.isFinite);
    const xs = lines.flatMap((l) => l.alphas), x0 = Math.min(0, ...xs), x1 = Math.max(1, ...xs);
    let highest = finite.length ? Math.max(...finite) : 1, high = highest * 1.05 || 1;
    form.elements.cut.parentElement.hidden = !chance || measure === "error";
    const cut = chance && measure !== "error" && form.elements.cut.checked && high > 2 * chance;
    if (cut) high = 2 * chance;
    if (measure === "error") high = 100;
    const x = (a) => left + ((a - x0) / (x1 - x0)) * (width - left - right);
    const y = (v) => height - bottom - (v / high) * (height - top - bottom);
    const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 25, 50, 100, 1000, 1e4, 1e5, 1e6].find((s) => high / s <= 6) ?? high;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren();
    const clip = element("clipPath", { id: "explorer-clip" });
    clip.append(element("rect", { x: left - 2, y: top, width: width - left - right + 4, height: height - top - bottom + 2 }));
    svg.append(clip);
    for (let v = 0; v <= high * 1.0001; v += step) {
      svg.append(element("line", { x1: left, x2: width - right, y1: y(v), y2: y(v), stroke: v ? "var(--grid)" : "var(--rule)" }));
      svg.append(element("text", { x: left - 8, y: y(v) + 4, "text-anchor": "end" }, +v.toPrecision(6)));
    }
    for (const a of [0, 0.25, 0.5, 0.75, 1]) svg.append(element("text", { x: x(a), y: height - bottom + 17, "text-anchor": "middle" }, a));
    svg.append(element("text", { x: (left + width - right) / 2, y: height - 3, "text-anchor": "middle" }, "α (0 = start, 1 = end)"));
    svg.append(element("text", { x: 0, y: 11 }, units[measure] ?? words(measure)));
    if (cut || finite.length < lines.flatMap((l) => l.mean).length) {
      const marks = [];
      if (lines.some((l) => l.mean.some((v) => v > high))) marks.push(`▲ up to ${lines.some((l) => l.mean.includes(Infinity)) ? "∞" : show(highest)}`);
      if (lines.some((l) => l.mean.some(Number.isNaN))) marks.push("× NaN: gap");
      svg.append(element("text", { x: width - right, y: 11, "text-anchor": "end" }, marks.join("   ")));
    }
    if (chance) {
      svg.append(element("line", { x1: left, x2: width - right, y1: y(chance), y2: y(chance), stroke: "var(--soft)", "stroke-dasharray": "1 3", "stroke-width": 1.4 }));
      svg.append(element("text", { x: width - right, y: y(chance) - 5, "text-anchor": "end" }, "chance"));
    }
    const group = element("g", { "clip-path": "url(#explorer-clip)", fill: "none", "stroke-linejoin": "round" });
    for (const l of [...lines].sort((a, b) => a.width - b.width)) {
      let path = "", pen = "M";
      l.mean.forEach((v, i) => {
        if (!Number.isFinite(v)) { pen = "M"; return; }
        path += `${pen}${x(l.alphas[i]).toFixed(1)} ${Math.max(-1e4, y(v)).toFixed(1)}`;
        pen = "L";
      });
      group.append(element("path", { d: path, stroke: l.colour, "stroke-width": l.width, opacity: l.opacity }));
      l.mean.forEach((v, i) => {
        if (v > high && !(l.mean[i - 1] > high && l.mean[i + 1] > high)) svg.append(element("text", { x: x(l.alphas[i]), y: top + 1, "text-anchor": "middle", style: `fill: ${l.colour}` }, "▲"));
        if (Number.isNaN(v) && !(Number.isNaN(l.mean[i - 1]) && Number.isNaN(l.mean[i + 1]))) svg.append(element("text", { x: x(l.alphas[i]), y: top + 1, "text-anchor": "middle", style: `fill: ${l.colour}` }, "×"));
      });
    }
    const mark = element("g", {});
    svg.append(group, mark);
    view = { lines, x, y, mark, top, high, bottom: height - bottom, left, span: width - left - right, x0, x1 };
    point(cursor ?? 0.5);
  }

  function point(alpha) {
    cursor = alpha;
    const { lines, x, y, mark, top, bottom, high } = view;
    mark.replaceChildren();
    if (!lines.length) { readout.textContent = "Not measured."; return; }
    const nearest = (l) => l.alphas.reduce((best, a, i) => (Math.abs(a - alpha) < Math.abs(l.alphas[best] - alpha) ? i : best), 0);
    const at = lines[0].alphas[nearest(lines[0])];
    mark.append(element("line", { x1: x(at), x2: x(at), y1: top, y2: bottom, stroke: "var(--soft)", "stroke-width": 0.8 }));
    const table = document.createElement("table");
    table.createCaption().textContent = `α = ${+at.toFixed(4)}`;
    for (const l of lines) {
      const i = nearest(l), v = l.mean[i], row = table.insertRow(), name = row.insertCell(), value = row.insertCell();
      const swatch = document.createElement("i");
      swatch.style.background = l.colour;
      swatch.style.opacity = l.opacity;
      name.append(swatch, l.name);
      value.className = "n";
      value.textContent = show(v) + (Number.isFinite(l.error[i]) ? ` ± ${l.error[i].toPrecision(2)}` : "");
      if (Number.isFinite(v) && v <= high) mark.append(element("circle", { cx: x(l.alphas[i]), cy: y(v), r: l.width > 1 ? 3.5 : 2.2, fill: l.colour }));
    }
    readout.replaceChildren(table);
  }

  form.addEventListener("change", (event) => { if (event.target.name === "arm") labels(); if (event.target.name === "label") treatments(); draw(); });
  svg.addEventListener("pointermove", (event) => {
    const place = (event.clientX - svg.getBoundingClientRect().left - view.left) / view.span;
    point(view.x0 + Math.min(1, Math.max(0, place)) * (view.x1 - view.x0));
  });
  svg.addEventListener("keydown", (event) => {
    const grid = view.lines[0]?.alphas ?? [0, 1];
    const here = grid.reduce((best, a, i) => (Math.abs(a - cursor) < Math.abs(grid[best] - cursor) ? i : best), 0);
    const next = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: grid.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    point(grid[Math.min(grid.length - 1, Math.max(0, next))]);
  });
  new ResizeObserver(draw).observe(svg);
})();
