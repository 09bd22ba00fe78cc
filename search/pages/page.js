"use strict";
/* Draws the document that Python wrote into this page. Items are what is compared (candidates); axes hold one value an
   item, groups say how an item looks, charts refer to axes by their place. Nothing is loaded from anywhere. */

const page = JSON.parse(document.getElementById("document").textContent);
const { items, axes, groups } = page;
const SVG = "http://www.w3.org/2000/svg";
const nodesOf = items.name.map(() => []);
const nodesOfGroup = groups.map(() => []);
const tip = document.getElementById("tip");

function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/* Numbers for people. */

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

function figure(value) {
  return Math.abs(value) >= 1e5 ? compact.format(value) : String(Number(value.toPrecision(4)));
}

function valueText(axis, item) {
  const value = axis.values[item];
  if (value === null) return "";
  if (axis.options) return axis.options[value];
  const interval = axis.low && axis.low[item] !== null ? ` (${figure(axis.low[item])} to ${figure(axis.high[item])})` : "";
  return figure(value) + interval;
}

/* Scales: where a value lies between two pixels, and which values are written beside the axis. */

function scaleOf(axis, from, to) {
  if (axis.options) {
    const step = (to - from) / Math.max(1, axis.options.length - 1);
    return { at: (value) => from + step * value, ticks: axis.options.map((text, place) => [place, text]) };
  }
  const shown = [axis.values, axis.low ?? [], axis.high ?? [], [axis.bound ?? null]].flat();
  const known = shown.filter((value) => value !== null && (!axis.log || value > 0));
  const forward = axis.log ? Math.log10 : (value) => value;
  let low = forward(known.length ? known.reduce((a, b) => Math.min(a, b)) : 1);
  let high = forward(known.length ? known.reduce((a, b) => Math.max(a, b)) : 10);
  const margin = 0.05 * (high - low) || 0.05 * Math.abs(high) || 0.5;
  low -= margin;
  high += margin;
  const ticks = axis.log ? logarithmicTicks(10 ** low, 10 ** high) : linearTicks(low, high);
  return {
    at: (value) => from + ((forward(value) - low) / (high - low)) * (to - from),
    ticks: ticks.map((value) => [value, Math.abs(value) < 1e-9 ? "0" : compact.format(value)]),
  };
}

function linearTicks(low, high) {
  const raw = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw);
  const count = Math.floor(high / step) - Math.ceil(low / step) + 1;
  return Array.from({ length: Math.max(0, count) }, (_, place) => (Math.ceil(low / step) + place) * step);
}

function logarithmicTicks(low, high) {
  const factors = Math.log10(high / low) > 3 ? [1] : [1, 2, 5];
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    ticks.push(...factors.map((factor) => factor * 10 ** power).filter((value) => value >= low && value <= high));
  }
  return ticks.length > 1 ? ticks : linearTicks(low, high);
}

/* Charts. */

const FRAME = { width: 460, height: 340, left: 62, right: 14, top: 14, bottom: 46 };

function framed(x, y, xLabel, yLabel) {
  const { width, height, left, right, top, bottom } = FRAME;
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}` });
  for (const [value, text] of x.ticks) {
    svg.append(draw("path", { class: "grid", d: `M${x.at(value)} ${top}V${height - bottom}` }));
    svg.append(draw("text", { x: x.at(value), y: height - bottom + 15, "text-anchor": "middle" }, text));
  }
  for (const [value, text] of y.ticks) {
    svg.append(draw("path", { class: "grid", d: `M${left} ${y.at(value)}H${width - right}` }));
    svg.append(draw("text", { x: left - 6, y: y.at(value) + 4, "text-anchor": "end" }, text));
  }
  const middle = (top + height - bottom) / 2;
  svg.append(draw("text", { class: "label", x: (left + width - right) / 2, y: height - 10, "text-anchor": "middle" }, xLabel));
  svg.append(draw("text", { class: "label", transform: `translate(14 ${middle}) rotate(-90)`, "text-anchor": "middle" }, yLabel));
  return svg;
}

const acrossFrame = (axis) => scaleOf(axis, FRAME.left, FRAME.width - FRAME.right);
const upFrame = (axis) => scaleOf(axis, FRAME.height - FRAME.bottom, FRAME.top);

/* Faded groups first, so that those that matter lie on top. */
function itemsToDraw(wanted) {
  const order = items.name.map((_, item) => item).filter(wanted);
  return order.sort((a, b) => items.group[b] - items.group[a] || a - b);
}

function ofItem(node, item) {
  node.dataset.item = item;
  nodesOf[item].push(node);
  nodesOfGroup[items.group[item]].push(node);
  return node;
}

function scatter(chart) {
  const [across, up] = [axes[chart.x], axes[chart.y]];
  const [x, y] = [acrossFrame(across), upFrame(up)];
  const svg = framed(x, y, across.label, up.label);
  if (across.bound != null) {
    svg.append(draw("path", { class: "budget", d: `M${x.at(across.bound)} ${FRAME.top}V${FRAME.height - FRAME.bottom}` }));
  }
  if (up.bound != null) svg.append(draw("path", { class: "budget", d: `M${FRAME.left} ${y.at(up.bound)}H${FRAME.width - FRAME.right}` }));
  for (const item of itemsToDraw((item) => across.values[item] !== null && up.values[item] !== null)) {
    const { colour, opacity, radius } = groups[items.group[item]];
    const [cx, cy] = [x.at(across.values[item]), y.at(up.values[item])];
    const bars = [];
    if (across.low && across.low[item] !== null) bars.push(`M${x.at(across.low[item])} ${cy}H${x.at(across.high[item])}`);
    if (up.low && up.low[item] !== null) bars.push(`M${cx} ${y.at(up.low[item])}V${y.at(up.high[item])}`);
    if (bars.length) svg.append(ofItem(draw("path", { class: "bar", d: bars.join(""), stroke: colour }), item));
    svg.append(ofItem(draw("circle", { class: "point", cx, cy, r: radius, fill: colour, "fill-opacity": opacity }), item));
  }
  return svg;
}

function parallel(chart) {
  const [step, top, bottom, height] = [112, 46, 14, 340];
  const width = step * chart.axes.length;
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, style: `min-width: ${width}px; max-width: ${width}px` });
  const columns = chart.axes.map((place, column) => ({ axis: axes[place], at: scaleOf(axes[place], height - bottom, top), x: step * (column + 0.5) }));
  for (const item of itemsToDraw((item) => groups[items.group[item]].line)) {
    let [path, pen] = ["", "M"];
    for (const { axis, at, x } of columns) {
      const value = axis.values[item];
      // A parameter that the candidate does not have interrupts its line.
      if (value !== null) path += `${pen}${x} ${at.at(value).toFixed(1)}`;
      pen = value === null ? "M" : "L";
    }
    const { colour, line } = groups[items.group[item]];
    svg.append(ofItem(draw("path", { class: "line", d: path, stroke: colour, "stroke-opacity": line }), item));
  }
  for (const [column, { axis, at, x }] of columns.entries()) {
    svg.append(draw("path", { class: "axis", d: `M${x} ${top}V${height - bottom}` }));
    for (const [value, text] of at.ticks) svg.append(draw("text", { x: x + 4, y: at.at(value) + 4 }, text));
    svg.append(draw("text", { class: "label", x, y: column % 2 ? 30 : 14, "text-anchor": "middle" }, axis.label));
  }
  return make("div", { class: "wide" }, svg);
}

function steps(chart) {
  const flat = (key) => ({ values: chart.series.map((one) => one[key]).flat(), log: false });
  const [x, y] = [acrossFrame(flat("x")), upFrame(flat("y"))];
  const svg = framed(x, y, chart.x_label, chart.y_label);
  for (const { name, colour, x: xs, y: ys } of chart.series) {
    const corners = xs.map((value, place) => (place ? `H${x.at(value)}V${y.at(ys[place])}` : `M${x.at(value)} ${y.at(ys[0])}`));
    svg.append(draw("path", { class: "curve", d: corners.join(""), stroke: colour }));
    svg.addEventListener("mousemove", (event) => {
      const at = svg.createSVGPoint();
      [at.x, at.y] = [event.clientX, event.clientY];
      const here = at.matrixTransform(svg.getScreenCTM().inverse()).x;
      const place = xs.findLastIndex((value) => x.at(value) <= here);
      if (place >= 0 && chart.series.length === 1) showTip(event, [`${name}: ${figure(ys[place])}`, `${chart.x_label}: ${figure(xs[place])}`]);
    });
  }
  svg.addEventListener("mouseleave", hideTip);
  return svg;
}

function bars(chart) {
  const head = make("tr", {}, make("th"), ...chart.columns.map((name) => make("th", {}, name)));
  const rows = chart.rows.map(({ name, shares }) =>
    make("tr", {}, make("td", {}, name), ...shares.map((share) =>
      make("td", {}, make("div", { class: "share", style: `width: ${(100 * share).toFixed(1)}%` }), `${Math.round(100 * share)} %`))));
  return make("table", { class: "bars" }, head, ...rows);
}

function table(chart) {
  const head = make("tr", {}, ...chart.columns.map((name) => make("th", {}, name)));
  const rows = chart.rows.map((cells, place) => {
    const row = make("tr", {}, ...cells.map((cell) => make("td", {}, String(cell))));
    return chart.items ? ofItem(row, chart.items[place]) : row;
  });
  return make("div", { class: "wide" }, make("table", {}, head, ...rows));
}

function text(chart) {
  return make("pre", {}, chart.text);
}

/* Hover and click. */

function itemOf(event) {
  const node = event.target.closest("[data-item]");
  return node ? Number(node.dataset.item) : null;
}

function factsOf(item) {
  const shown = axes.filter((axis) => axis.values[item] !== null).map((axis) => [axis.label, valueText(axis, item)]);
  const note = items.note[item];
  return [["", groups[items.group[item]].name], ...(note ? [["", note]] : []), ...shown];
}

function showTip(event, lines) {
  tip.replaceChildren(...lines.map((line) => make("div", {}, line)));
  tip.hidden = false;
  const [right, bottom] = [innerWidth - tip.offsetWidth - 8, innerHeight - tip.offsetHeight - 8];
  tip.style.left = `${Math.max(0, Math.min(event.clientX + 14, right))}px`;
  tip.style.top = `${Math.max(0, Math.min(event.clientY + 14, bottom))}px`;
}

function hideTip() {
  tip.hidden = true;
}

function light(item, on) {
  for (const node of nodesOf[item]) node.classList.toggle("lit", on);
}

document.addEventListener("mouseover", (event) => {
  const item = itemOf(event);
  if (item === null) return;
  light(item, true);
  showTip(event, [items.name[item], ...factsOf(item).map(([label, value]) => (label ? `${label}: ${value}` : value))]);
});

document.addEventListener("mouseout", (event) => {
  const item = itemOf(event);
  if (item === null) return;
  light(item, false);
  hideTip();
});

/* Where the run of an item is in MLflow: on the server that shows this page, else where the search wrote it. */
function addressOf(item) {
  const run = items.run[item];
  if (!run) return null;
  const shownBy = location.href.match(/^blob:(https?:\/\/[^/]+)/);
  const server = shownBy ? shownBy[1] : page.tracking;
  return server ? `${server}/#/experiments/${page.experiment}/runs/${run}` : null;
}

/* MLflow shows pages in a frame that may open nothing: there the address is for copying. */
function linkTo(address) {
  if (location.protocol !== "blob:") return make("a", { id: "run", href: address, target: "_blank", rel: "noopener" }, "Open its run in MLflow");
  const field = make("input", { id: "run", readonly: "", value: address });
  field.addEventListener("click", () => {
    field.select();
    copied.textContent = document.execCommand("copy") ? "Copied." : "";
  });
  const copied = make("span", {}, "");
  return make("label", {}, "Its run in MLflow: click to copy the address ", field, copied);
}

document.addEventListener("click", (event) => {
  const item = itemOf(event);
  if (item === null) return;
  const address = addressOf(item);
  const facts = factsOf(item).map(([label, value]) => make("tr", {}, make("td", {}, label), make("td", {}, value)));
  const close = make("button", { "aria-label": "close" }, "×");
  const panel = document.getElementById("detail");
  close.addEventListener("click", () => (panel.hidden = true));
  panel.replaceChildren(close, make("h2", {}, items.name[item]), ...(address ? [linkTo(address)] : []), make("table", {}, ...facts));
  panel.hidden = false;
});

function legend() {
  const used = groups.map((group, place) => [group, items.group.filter((one) => one === place).length, place]);
  const keys = used.filter(([, count]) => count).map(([group, count, place]) => {
    const key = make("button", { class: "key", "aria-pressed": "true" }, make("i", { style: `background: ${group.colour}; opacity: ${group.opacity}` }), `${group.name} (${count})`);
    key.addEventListener("click", () => {
      const shown = key.getAttribute("aria-pressed") !== "true";
      key.setAttribute("aria-pressed", shown);
      for (const node of nodesOfGroup[place]) node.style.display = shown ? "" : "none";
    });
    return key;
  });
  return make("nav", {}, ...keys);
}

const KINDS = { scatter, parallel, steps, bars, table, text };
const main = document.querySelector("main");
main.append(make("h1", {}, page.title), make("p", {}, page.subtitle), legend());
for (const { title, charts } of page.sections) {
  const drawn = charts.map((chart) => make("figure", {}, KINDS[chart.kind](chart)));
  main.append(make("section", {}, make("h2", {}, title), make("div", { class: "charts" }, ...drawn)));
}
document.body.dataset.ready = "true";
