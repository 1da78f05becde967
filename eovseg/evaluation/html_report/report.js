// The report's page. REPORT (data.js) is what eovseg/evaluation/html_report writes; a segment is
// [id, class, verdict, partner, iou, score, share]. Names are untrusted: they are inserted as text only.
"use strict";
const find = (selector, from = document) => from.querySelector(selector);
const NOTHING = -1;
const FATES = ["right", "wrong name", "bad mask", "invented", "missed"];
const MEANING = {
  "right": "The same class, and an IoU above 0.5",
  "wrong name": "An IoU above 0.5, but a different class",
  "bad mask": "The same class, but an IoU of only 0.1 to 0.5",
  "invented": "Predicted, without a corresponding true segment",
  "missed": "Labelled, but not found",
  "not judged": "Mostly on unlabelled pixels or a crowd",
};
const BINS = 10;
const PAGE = 24;
function percent(share, digits = 0) {
  if (share === null || share === undefined) return "–";
  const text = (100 * share).toFixed(digits);
  return (share > 0 && Number(text) === 0 ? "under " + (10 ** -digits).toFixed(digits) : text) + " %";
}
const number = (value, digits = 1) => (value === null || value === undefined ? "–" : typeof value === "number" ? value.toFixed(Number.isInteger(value) ? 0 : digits) : String(value));
const css = (verdict) => verdict.replace(" ", "-");
const label = (index) => REPORT.labels[index] ?? "nothing";

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function svg(tag, values = {}, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(values)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

// A link selects photos by a condition, which is stored in the URL so that it can be bookmarked.
const address = (values) => "#" + new URLSearchParams(values);
const asked = () => new URLSearchParams(location.hash.slice(1));

function link(values, text) {
  const node = make("a", "", text);
  node.href = address(values);
  return node;
}

const LOST = (verdict) => verdict !== "right" && verdict !== "not judged";
const PARTS = {
  any: [() => true, () => true, ""],
  right: [(s) => s[2] === "right", () => false, "found right"],
  false: [(s) => LOST(s[2]), () => false, "predicted wrongly"],
  lost: [() => false, (s) => LOST(s[2]), "not found right"],
};

function condition(query) {
  if (query.has("class")) {
    const index = Number(query.get("class"));
    const [predicted, real, words] = PARTS[query.get("as")] ?? PARTS.any;
    const belongs = (segment, wanted) => segment[1] === index && wanted(segment);
    return {
      title: "with “" + label(index) + "” " + words,
      holds: (photo) => photo.predicted.some((s) => belongs(s, predicted)) || photo.true.some((s) => belongs(s, real)),
    };
  }
  if (query.has("fate")) {
    const fate = query.get("fate");
    return { title: "with a segment that is " + fate, holds: (photo) => [...photo.predicted, ...photo.true].some((s) => s[2] === fate) };
  }
  if (query.has("from")) {
    const from = query.get("from").split(",").map(Number);
    const to = query.get("to").split(",").map(Number);
    const named = (list, none) => (list.length > 1 ? "another class" : list[0] === NOTHING ? none : "“" + label(list[0]) + "”");
    return {
      title: "with pixels of " + named(from, "no label") + " taken for " + named(to, "nothing"),
      holds: (photo) => photo.confusion.some(([a, b]) => from.includes(a) && to.includes(b)),
    };
  }
  if (query.has("bin")) {
    const bin = Number(query.get("bin"));
    return {
      title: `with a score from ${10 * bin} to ${10 * (bin + 1)} %`,
      holds: (photo) => photo.predicted.some((s) => s[2] !== "not judged" && Math.min(BINS - 1, Math.floor(s[5] * BINS)) === bin),
    };
  }
  return null;
}

function bar(photo) {
  const counts = fates([photo]);
  const node = make("div", "bar");
  for (const fate of FATES) {
    if (!counts[fate]) continue;
    const part = make("i", css(fate));
    part.style.setProperty("--n", counts[fate]);
    part.title = counts[fate] + " " + fate;
    node.append(part);
  }
  return node;
}

function fates(photos) {
  const counts = Object.fromEntries(FATES.map((fate) => [fate, 0]));
  for (const photo of photos) {
    for (const segment of photo.predicted) if (segment[2] in counts) counts[segment[2]]++;
    for (const segment of photo.true) if (segment[2] === "missed") counts.missed++;
  }
  return counts;
}

let chosen = [];
let visible = PAGE;

function showPhotos() {
  const query = asked();
  const wanted = condition(query);
  const all = REPORT.shown.map((photo, place) => ({ ...photo, place }));
  chosen = wanted ? all.filter(wanted.holds) : all;
  const line = find(".chosen");
  const left = REPORT.photos - REPORT.shown.length;
  const kept = left ? ` This folder contains the ${REPORT.shown.length} worst of ${REPORT.photos} photos.` : "";
  line.textContent = (wanted ? `${chosen.length} of ${all.length} photos ${wanted.title}.` : "Sorted by the PQ over all segments of a photo; the bar shows the verdicts on them.") + kept;
  if (wanted) line.append(link({ photos: "" }, "Show all"));
  const grid = find(".grid");
  grid.replaceChildren();
  for (const photo of chosen.slice(0, visible)) {
    const values = Object.fromEntries(query);
    delete values.photo;
    const card = link({ ...values, photo: photo.place });
    card.className = "card";
    const picture = make("img");
    picture.loading = "lazy";
    picture.src = `photos/${photo.place}.jpg`;
    picture.alt = "";
    const words = make("div");
    const head = make("p");
    head.append(make("span", "", photo.name), make("b", "", "PQ " + percent(photo.quality).replace(" %", "")));
    words.append(head, bar(photo));
    card.append(picture, words);
    grid.append(card);
  }
  find(".more").hidden = visible >= chosen.length;
}

find(".more").addEventListener("click", () => {
  visible += PAGE;
  showPhotos();
});

// One photo.
const viewer = find(".viewer");
let opened = -1;
window.eovsegOutlines = (place, paths) => {
  if (place === opened) draw(REPORT.shown[place], place, paths);
};

function open(place) {
  if (!REPORT.shown[place]) return;
  opened = place;
  const photo = REPORT.shown[place];
  find("h2", viewer).textContent = photo.name;
  find("header p", viewer).textContent = "PQ over its segments " + percent(photo.quality);
  find(".sides", viewer).replaceChildren();
  const at = chosen.findIndex((one) => one.place === place);
  find(".back", viewer).disabled = at <= 0;
  find(".on", viewer).disabled = at < 0 || at >= chosen.length - 1;
  const script = make("script");
  script.src = `photos/${place}.js`;
  script.addEventListener("load", () => script.remove());
  document.head.append(script);
  if (!viewer.open) viewer.showModal();
}

function verdictWords(segment, side, photo) {
  const [, , verdict, partner, iou] = segment;
  const other = photo[side === "true" ? "predicted" : "true"].find((one) => one[0] === partner);
  const parts = [];
  if (verdict === "wrong name" && other) parts.push((side === "true" ? "taken for " : "is ") + label(other[1]));
  if (partner) parts.push("IoU " + iou.toFixed(2));
  if (segment[5] !== null) parts.push("score " + percent(segment[5]));
  return parts.join(" · ");
}

function draw(photo, place, paths) {
  const sides = find(".sides", viewer);
  sides.replaceChildren();
  const nodes = { true: new Map(), predicted: new Map() };
  const light = (side, segment, on) => {
    const other = side === "true" ? "predicted" : "true";
    for (const node of nodes[side].get(segment[0]) ?? []) node.classList.toggle("on", on);
    if (segment[3]) for (const node of nodes[other].get(segment[3]) ?? []) node.classList.toggle("on", on);
  };
  for (const [side, title] of [["true", "Truth"], ["predicted", "Result"]]) {
    const part = make("div", "side " + side);
    const stack = make("div", "stack");
    const picture = make("img");
    picture.src = `photos/${place}.jpg`;
    picture.alt = title + " of " + photo.name;
    const drawing = svg("svg", { viewBox: `0 0 ${photo.size[0]} ${photo.size[1]}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    const list = make("ul", "list");
    const order = photo[side].map((segment, index) => [segment, paths[side][index]]).sort((a, b) => b[0][6] - a[0][6]);
    for (const [segment, path] of order) {
      const shape = svg("path", { d: path, class: css(segment[2]) });
      shape.append(svg("title", {}, `${label(segment[1])}: ${segment[2]}`));
      drawing.append(shape);
      const row = make("li");
      const fate = make("span", "fate " + css(segment[2]), segment[2]);
      fate.title = MEANING[segment[2]];
      row.append(make("b", "", label(segment[1])), fate, make("span", "", verdictWords(segment, side, photo)));
      list.append(row);
      nodes[side].set(segment[0], [shape, row]);
      for (const node of [shape, row]) {
        node.addEventListener("pointerenter", () => light(side, segment, true));
        node.addEventListener("pointerleave", () => light(side, segment, false));
      }
    }
    if (!order.length) list.append(make("li", "", side === "true" ? "No labelled segments." : "No predicted segments."));
    stack.append(picture, drawing);
    part.append(make("h3", "", title), stack, list);
    sides.append(part);
  }
  viewer.dataset.shown = place;
}

function step(by) {
  const at = chosen.findIndex((one) => one.place === opened) + by;
  if (chosen[at]) location.hash = address({ ...Object.fromEntries(asked()), photo: chosen[at].place });
}

function close() {
  const values = Object.fromEntries(asked());
  delete values.photo;
  opened = -1;
  const rest = address(Object.keys(values).length ? values : { photos: "" });
  history.replaceState(null, "", rest);
}

find(".back", viewer).addEventListener("click", () => step(-1));
find(".on", viewer).addEventListener("click", () => step(1));
find(".close", viewer).addEventListener("click", () => viewer.close());
viewer.addEventListener("close", close);
viewer.addEventListener("click", (event) => event.target === viewer && viewer.close());
viewer.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});

// Classes.
const LINKED = { "true positives": "right", "false positives": "false", "false negatives": "lost" };
const SHORT = { "true positives": "Right", "false positives": "Wrong", "false negatives": "Not found", "pixel accuracy": "Pixel acc.", kind: "Kind", seen: "Seen" };
const HINTS = {
  "true positives": "Segments that are right", "false positives": "Predicted segments that are wrong",
  "false negatives": "True segments that were not found", seen: "Whether the class shares a word with the training words",
  PQ: "Panoptic quality: SQ × RQ", SQ: "Mean IoU of the segments that are right", RQ: "F1 of finding segments",
};
let order = ["PQ", 1];

function showClasses() {
  const columns = ["class", ...Object.keys(REPORT.classes[0] ?? {}).filter((name) => name !== "index")];
  const value = (row, name) => (name === "class" ? label(row.index) : row[name]);
  const head = make("tr");
  for (const name of columns) {
    const cell = make("th");
    cell.scope = "col";
    const button = make("button", "", name === "class" ? "Class" : SHORT[name] ?? name);
    button.type = "button";
    button.title = HINTS[name] ?? "";
    if (order[0] === name) cell.setAttribute("aria-sort", order[1] > 0 ? "ascending" : "descending");
    button.addEventListener("click", () => {
      order = order[0] === name ? [name, -order[1]] : [name, typeof value(REPORT.classes[0], name) === "number" ? -1 : 1];
      showClasses();
    });
    cell.append(button);
    head.append(cell);
  }
  find(".classes thead").replaceChildren(head);
  const wanted = find(".find").value.trim().toLowerCase();
  const rows = REPORT.classes.filter((row) => label(row.index).toLowerCase().includes(wanted));
  const [key, direction] = order;
  rows.sort((a, b) => {
    const [x, y] = [value(a, key), value(b, key)];
    if (x === null || y === null) return (x === null) - (y === null) || a.index - b.index; // classes without a score are last
    return direction * (typeof x === "string" ? x.localeCompare(y, undefined, { numeric: true }) : x - y) || a.index - b.index;
  });
  const body = find(".classes tbody");
  body.replaceChildren();
  for (const row of rows) {
    const line = make("tr");
    for (const name of columns) {
      const cell = make(name === "class" ? "th" : "td");
      const shown = name === "seen" ? (row.seen ? "yes" : "no") : name === "class" ? label(row.index) : number(value(row, name));
      if (name === "kind" || name === "seen" || row[name] === null) {
        cell.className = "quiet";
        cell.textContent = shown;
      } else cell.append(link({ class: row.index, as: LINKED[name] ?? "any" }, shown));
      line.append(cell);
    }
    body.append(line);
  }
}
find(".find").addEventListener("input", showClasses);

// Confusion.
function showMatrix() {
  const wanted = Number(find(".how-many select").value);
  const labelled = new Map();
  for (const [real, predicted, pixels] of REPORT.confusion) {
    if (real !== NOTHING) labelled.set(real, (labelled.get(real) ?? 0) + pixels);
    else if (predicted !== NOTHING && !labelled.has(predicted)) labelled.set(predicted, 0);
  }
  for (const [, predicted] of REPORT.confusion) if (predicted !== NOTHING && !labelled.has(predicted)) labelled.set(predicted, 0);
  const ranked = [...labelled].sort((a, b) => b[1] - a[1] || a[0] - b[0]).map(([index]) => index);
  const own = ranked.slice(0, wanted);
  const rest = ranked.slice(wanted);
  const groups = [...own.map((index) => [label(index), [index]]), ...(rest.length ? [["other classes", rest]] : [])];
  const place = new Map();
  groups.forEach(([, indices], at) => indices.forEach((index) => place.set(index, at)));
  place.set(NOTHING, groups.length);
  const size = groups.length + 1;
  const table = Array.from({ length: size }, () => new Float64Array(size));
  for (const [real, predicted, pixels] of REPORT.confusion) table[place.get(real)][place.get(predicted)] += pixels;
  const title = (at, none) => (at < groups.length ? groups[at][0] : none);
  const members = (at) => (at < groups.length ? groups[at][1] : [NOTHING]).join(",");
  const head = make("tr");
  head.append(make("td"));
  for (let column = 0; column < size; column++) {
    const cell = make("th", column === size - 1 ? "apart" : "");
    const text = make("span", "", title(column, "nothing"));
    cell.title = title(column, "nothing");
    cell.append(text);
    head.append(cell);
  }
  const body = make("tbody");
  for (let row = 0; row < size; row++) {
    const total = table[row].reduce((sum, value) => sum + value, 0);
    const line = make("tr");
    const name = make("th", "", title(row, "unlabelled"));
    name.title = name.textContent;
    line.append(name);
    for (let column = 0; column < size; column++) {
      const share = total ? table[row][column] / total : 0;
      const cell = make("td", (row === column && row < own.length ? "own " : "") + (share > 0.5 ? "dark " : "") + (column === size - 1 ? "apart" : ""));
      if (share > 0) {
        cell.style.setProperty("--share", (0.06 + 0.94 * share).toFixed(3));
        const shown = share >= 0.005 ? Math.round(100 * share) : "";
        const to = link({ from: members(row), to: members(column) }, shown);
        to.title = `${title(row, "unlabelled")} → ${title(column, "nothing")}: ${percent(share, 1)}`;
        cell.append(to);
      }
      line.append(cell);
    }
    body.append(line);
  }
  const header = make("thead");
  header.append(head);
  find(".matrix").replaceChildren(header, body);
}
find(".how-many select").addEventListener("change", showMatrix);

function showConfusions() {
  const totals = new Map();
  for (const [real, , pixels] of REPORT.confusion) totals.set(real, (totals.get(real) ?? 0) + pixels);
  const all = [...totals].reduce((sum, [real, pixels]) => sum + (real === NOTHING ? 0 : pixels), 0);
  const wrong = REPORT.confusion.filter(([real, predicted]) => real !== NOTHING && real !== predicted);
  for (const [real, predicted, pixels] of wrong.sort((a, b) => b[2] - a[2]).slice(0, 20)) {
    const line = make("li");
    const to = link({ from: real, to: predicted });
    to.append(make("b", "", label(real)), " taken for ", make("b", "", label(predicted)));
    line.append(to, ` ${percent(pixels / totals.get(real))} of its pixels, ${percent(pixels / all, 1)} of all`);
    find(".confusions").append(line);
  }
}

// Reliability.
function showReliability() {
  const found = REPORT.reliability;
  const total = found ? found.count.reduce((sum, count) => sum + count, 0) : 0;
  if (!total) {
    find(".diagram").append(make("p", "note", "No segments were judged."));
    return;
  }
  const [width, height, left, top, side] = [620, 340, 46, 14, 268];
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Share of segments that are right, by score" });
  const x = (share) => left + share * (width - left - 12);
  const y = (share) => top + (1 - share) * side;
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    drawing.append(svg("line", { x1: left, x2: width - 12, y1: y(share), y2: y(share), class: "axis" }));
    drawing.append(svg("text", { x: left - 8, y: y(share) + 4, "text-anchor": "end" }, 100 * share));
    drawing.append(svg("text", { x: x(share), y: top + side + 36, "text-anchor": "middle" }, 100 * share));
  }
  found.count.forEach((count, bin) => {
    const middle = (x(bin / BINS) + x((bin + 1) / BINS)) / 2;
    drawing.append(svg("text", { x: middle, y: top + side + 17, "text-anchor": "middle", "font-size": 11.5 }, count || ""));
    if (!count) return;
    const to = svg("a", { href: address({ bin }) });
    to.append(svg("title", {}, `Score ${10 * bin} to ${10 * (bin + 1)} %: ${count} segments, ${percent(found.accuracy[bin])} right, mean score ${percent(found.confidence[bin])}`));
    const box = { x: x(bin / BINS) + 3, width: (width - left - 12) / BINS - 6 };
    to.append(svg("rect", { ...box, y: top, height: side, class: "ground" }));
    to.append(svg("rect", { ...box, y: y(found.accuracy[bin]), height: Math.max(1.5, found.accuracy[bin] * side), rx: 3, class: "column" }));
    drawing.append(to);
  });
  drawing.append(svg("path", { d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}`, class: "promise" }));
  find(".diagram").append(drawing, make("p", "note", `Vertical: share that is right, in percent. Horizontal: score in percent. The number of segments is below each bar. Mean distance from the line over ${total} segments: ${percent(found.error, 1)}.`));
}

function showHead() {
  find("h1").textContent = document.title = REPORT.title;
  find(".about").textContent = `${REPORT.photos} photos, ${REPORT.labels.length} classes (${REPORT.vocabulary})`;
  for (const name of ["PQ", "SQ", "RQ", "mIoU", "AP", "calibration error"]) {
    const found = REPORT.summary.find((row) => row.name === name && row.value !== null);
    if (!found) continue;
    const tile = link({ photos: "" });
    tile.className = "tile";
    tile.style.color = "inherit";
    const spread = found.interval ? ` · ${number(found.interval[0])} to ${number(found.interval[1])}` : "";
    tile.append(make("b", "", found.value.toFixed(1)), make("span", "", name + spread));
    find(".tiles").append(tile);
  }
  if (REPORT.summary.some((row) => row.interval)) {
    find(".tiles").after(make("p", "note", `Ranges are 95 % intervals over photos (bootstrap). ${REPORT.warning}`));
  }
  const counts = fates(REPORT.shown);
  const whole = make("div", "bar");
  const key = make("ul", "key");
  for (const fate of FATES) {
    const part = make("i", css(fate));
    part.style.setProperty("--n", counts[fate]);
    whole.append(part);
    const line = make("li");
    const to = link({ fate }, `${counts[fate]} ${fate}`);
    to.className = "fate " + css(fate);
    to.title = MEANING[fate];
    line.append(to);
    key.append(line);
  }
  find(".fates").append(whole, key);
}

function showNumbers() {
  const heading = make("tr");
  heading.append(make("td"), make("th", "", "value"), make("th", "", "95 % interval over photos"));
  find(".numbers tbody").append(heading);
  for (const { name, value, interval } of REPORT.summary) {
    const line = make("tr");
    const shown = make("td");
    shown.append(value === null ? "–" : link({ photos: "" }, number(value)));
    line.append(make("th", "", name), shown, make("td", "", interval ? `${number(interval[0])} to ${number(interval[1])}` : ""));
    find(".numbers tbody").append(line);
  }
  const facts = { ...REPORT.settings, ...(REPORT.weights ? { weights: REPORT.weights } : {}) };
  for (const [name, value] of Object.entries(facts)) find(".facts").append(make("dt", "", name.replaceAll("_", " ")), make("dd", "", value));
  for (const note of REPORT.notes) find(".notes").append(make("li", "", note));
}

function follow() {
  const query = asked();
  visible = PAGE;
  showPhotos();
  if (query.has("photo")) open(Number(query.get("photo")));
  else {
    if (viewer.open) viewer.close();
    if (condition(query) || query.has("photos")) find("#photos").scrollIntoView();
  }
}

showHead();
showClasses();
showMatrix();
showConfusions();
showReliability();
showNumbers();
follow();
window.addEventListener("hashchange", follow);
document.body.dataset.ready = "true";
