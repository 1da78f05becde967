// The picture that reacts to hover and click, with legend and table: the body of gr.HTML's `js_on_load`.
// Gradio provides `element`, `props`, `trigger` and `watch`. `props.value` comes from app/payload.py.
// Words are typed by visitors, so they are set as textContent only.

const picture = find(".picture");
const photo = find(".photo");
const overlay = find(".overlay");
const focusLayer = find(".focus");
const names = find(".names");
const tip = find(".tip");
const cross = find(".cross");
const legend = find(".legend");
const why = find(".why");
const rows = find("tbody");
const opacity = find(".opacity input");
const percent = (share) => (share < 0.001 ? "< 0.1" : (100 * share).toFixed(share < 0.1 ? 1 : 0)) + " %";

let ids = null; // segment id of every pixel, row by row
let size = [0, 0];
let byId = new Map();
let pinned = 0;
let point = null; // the clicked pixel (x, y); null if the segment was pinned in the legend or the table
let keyed = [0.5, 0.5]; // position of the crosshair, as shares of width and height
let shown = 0;
let order = ["share", -1]; // sort column of the table, and 1 for ascending or -1 for descending
let newest = 0; // number of the latest render; older ones that finish late are dropped

function loaded(source) {
  return new Promise((done, failed) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => failed(new Error("an image of the result could not be decoded"));
    image.src = source;
  });
}

function isEdge(i, x, y, id, reach) {
  const [width, height] = size;
  return (
    (x >= reach && ids[i - reach] !== id) ||
    (x < width - reach && ids[i + reach] !== id) ||
    (y >= reach && ids[i - reach * width] !== id) ||
    (y < height - reach && ids[i + reach * width] !== id)
  );
}

function paint(canvas, colour) {
  const [width, height] = size;
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer); // ABGR, because all current platforms are little-endian
  const reach = Math.max(1, Math.round(Math.max(width, height) / 700));
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) pixels[i] = colour(ids[i], i, x, y, reach);
  }
  context.putImageData(image, 0, 0);
}

function paintOverlay() {
  paint(overlay, (id, i, x, y, reach) => {
    if (!id || byId.get(id)?.other) return 0;
    return isEdge(i, x, y, id, reach) ? 0xffffffff : byId.get(id)?.abgr ?? 0;
  });
}

function paintFocus(id) {
  focusLayer.hidden = !id;
  if (!id) return;
  paint(focusLayer, (here, i, x, y, reach) => {
    if (here !== id) return 0xa6181410;
    return isEdge(i, x, y, id, 2 * reach) ? 0xffffffff : 0;
  });
}

function show(id) {
  if (id === shown) return;
  shown = id;
  paintFocus(id);
  names.classList.toggle("quiet", Boolean(id));
  for (const node of element.querySelectorAll("[data-id]")) {
    node.classList.toggle("on", Number(node.dataset.id) === id);
  }
}

// Announces the pinned segment to app/correct.js and app/link.js.
function tellPinned() {
  const { segments, undo } = props.value;
  document.dispatchEvent(new CustomEvent("eovseg-pin", { detail: { id: pinned, point, segments, undo } }));
}

function pin(id, at = null) {
  if (id && id === pinned && at && !point) {
    point = at; // a segment that was pinned without a click on the picture stays pinned
    return tellPinned();
  }
  const held = why.contains(document.activeElement) ? document.activeElement : null;
  pinned = id === pinned ? 0 : id;
  point = pinned ? at : null;
  for (const node of legend.querySelectorAll("button")) {
    node.setAttribute("aria-pressed", String(Number(node.dataset.id) === pinned));
  }
  show(pinned);
  why.hidden = true;
  if (held) legend.querySelector(`[data-id="${id}"]`)?.focus({ preventScroll: !held.matches(":focus-visible") });
  trigger("explain", { segment: pinned });
  tellPinned();
}

function pixelUnder(event) {
  const box = overlay.getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) / box.width) * size[0]);
  return [x, Math.floor(((event.clientY - box.top) / box.height) * size[1])];
}

function idUnder(event) {
  const [x, y] = pixelUnder(event);
  return x < 0 || y < 0 || x >= size[0] || y >= size[1] || !ids ? 0 : ids[y * size[0] + x];
}

function tell(event, id) {
  const segment = byId.get(id);
  tip.hidden = !segment;
  if (!segment) return;
  tip.replaceChildren(
    make("b", "", segment.name),
    make("span", "", "score " + percent(segment.score) + " · " + percent(segment.share) + " of the photo"),
  );
  const box = picture.getBoundingClientRect();
  const left = event.clientX - box.left;
  tip.style.left = Math.min(Math.max(8, left + 14), box.width - tip.offsetWidth - 8) + "px";
  const top = event.clientY - box.top;
  tip.style.top = (top > tip.offsetHeight + 24 ? top - tip.offsetHeight - 12 : top + 18) + "px";
}

function placeNames(segments) {
  names.replaceChildren();
  const taken = [];
  const [width, height] = [picture.clientWidth, picture.clientHeight];
  for (const segment of [...segments].sort((a, b) => b.share - a.share)) {
    if (segment.share < 0.004 || segment.other) continue;
    const node = make("span", "", segment.name);
    node.dataset.id = segment.id;
    node.style.setProperty("--colour", segment.colour);
    node.style.color = segment.ink;
    node.style.left = 100 * segment.anchor[0] + "%";
    node.style.top = 100 * segment.anchor[1] + "%";
    names.append(node);
    const half = [node.offsetWidth / 2 + 3, node.offsetHeight / 2 + 2];
    const x = Math.min(Math.max(segment.anchor[0] * width, half[0]), width - half[0]);
    const y = Math.min(Math.max(segment.anchor[1] * height, half[1]), height - half[1]);
    const box = [x - half[0], y - half[1], x + half[0], y + half[1]];
    if (taken.some((b) => box[0] < b[2] && box[2] > b[0] && box[1] < b[3] && box[3] > b[1])) {
      node.remove();
      continue;
    }
    node.style.left = x + "px";
    node.style.top = y + "px";
    taken.push(box);
  }
}

function dye(swatch, segment) {
  swatch.classList.toggle("bare", segment.other);
  if (!segment.other) swatch.style.background = segment.colour;
}

function listen(node, id) {
  node.addEventListener("pointerenter", () => show(id));
  node.addEventListener("pointerleave", () => show(pinned));
  node.addEventListener("click", () => pin(id));
}

function fillLegend(segments) {
  legend.replaceChildren();
  const groups = [
    ["Things", (segment) => segment.thing],
    ["Regions", (segment) => !segment.thing && !segment.other],
    ["The rest", (segment) => segment.other],
  ];
  for (const [title, belongs] of groups) {
    const group = segments.filter(belongs);
    if (!group.length) continue;
    const line = make("div", "group");
    line.append(make("h3", "", title));
    for (const segment of group) {
      const chip = make("button", "chip");
      chip.type = "button";
      chip.dataset.id = segment.id;
      chip.setAttribute("aria-pressed", "false");
      const swatch = make("i");
      dye(swatch, segment);
      chip.append(swatch, make("span", "", segment.name));
      listen(chip, segment.id);
      chip.addEventListener("focus", () => chip.matches(":focus-visible") && show(segment.id));
      chip.addEventListener("blur", () => show(pinned));
      line.append(chip);
    }
    legend.append(line);
  }
}

function showUnfound({ words, more, absent }) {
  const line = find(".unfound");
  const check = make("button", "", "Check these words");
  check.type = "button";
  check.addEventListener("click", () => {
    const button = document.querySelector(".advice .check");
    button.scrollIntoView({ block: "center" });
    button.click();
  });
  line.hidden = !words.length;
  const every = absent.length === words.length && !more; // do not list the same words twice
  const them = every ? `There is little evidence of ${words.length > 1 ? "any of them" : "it"} in this photo. ` : `Little evidence in this photo for ${absent.join(", ")}. `;
  const verdict = make("span", "absent", absent.length ? them : "");
  verdict.title = "Training words that are probably not in the photo. On the validation photos, 95 % of the absent words got this verdict, and so did up to 28 % of the words that were present.";
  line.replaceChildren(`Nothing found for ${words.join(", ")}${more ? ` and ${more.toLocaleString("en")} more` : ""}. `, verdict, check);
}

function meter(share) {
  const cell = make("td", "number", percent(share));
  cell.style.setProperty("--share", share);
  return cell;
}

function sorted(segments) {
  const [key, direction] = order;
  const value = (segment) => (key === "kind" ? kindOf(segment) : segment[key]);
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b);
  return [...segments].sort((a, b) => direction * compare(value(a), value(b)) || a.id - b.id);
}

const kindOf = (segment) => (segment.thing ? "thing" : "stuff");

function fillTable(segments) {
  rows.replaceChildren();
  for (const segment of sorted(segments)) {
    const row = make("tr");
    row.dataset.id = segment.id;
    row.classList.toggle("on", segment.id === shown);
    const name = make("th");
    name.scope = "row";
    const swatch = make("i");
    dye(swatch, segment);
    name.append(swatch, make("span", "", segment.name));
    row.append(make("td", "id", segment.id), name, make("td", "", segment.label));
    row.append(make("td", "", kindOf(segment)));
    for (const share of [segment.score, segment.in_vocabulary, segment.out_of_vocabulary, segment.share]) {
      row.append(meter(share));
    }
    listen(row, segment.id);
    rows.append(row);
  }
}

function bar(share) {
  const track = make("span", "bar");
  track.style.setProperty("--share", Math.min(1, share));
  return track;
}

function explain(value) {
  const open = Boolean(value && value.name && value.segment === pinned); // a late answer may be about another segment
  why.hidden = !open;
  // Shown on the side of the picture away from the segment, so that nothing moves under the pointer.
  why.classList.toggle("left", (byId.get(pinned)?.anchor[0] ?? 0) > 0.5);
  why.replaceChildren();
  if (!open) return;
  const head = make("header");
  const swatch = make("i");
  dye(swatch, { colour: value.colour, other: Boolean(value.other) });
  const byHand = !value.other && value.label !== value.model_label;
  const close = make("button", "close", "×");
  close.type = "button";
  close.setAttribute("aria-label", "Close");
  close.addEventListener("click", () => pin(pinned));
  head.append(swatch, make("h3", "", value.other ? "The rest" : "Why " + (byHand ? value.model_label : value.name) + "?"), close);
  why.append(head);
  if (byHand) why.append(make("p", "by-hand", `The name “${value.label}” was given by hand. The model chose “${value.model_label}”, which is explained here.`));
  const extent = value.area.toLocaleString("en") + " pixels, " + percent(value.share) + " of the photo";
  why.append(make("p", "", (value.other ? "" : value.kind + " · ") + extent));
  if (value.parts.length) explainParts(value.parts);
  if (value.words.length) explainWords(value);
  if (value.routers.length) explainRouters(value.routers);
}

function explainParts(parts) {
  why.append(make("h4", "", "Background words that won here"));
  const list = make("dl", "votes");
  for (const { word, share } of parts) list.append(make("dt", "", word), make("dd", "", percent(share)), bar(share));
  why.append(list);
}

function explainWords(value) {
  const table = make("table");
  const head = table.createTHead().insertRow();
  const titles = [
    ["Word", ""],
    ["In-voc.", "In vocabulary: probability from the trained classifier"],
    ["Out-voc.", "Out of vocabulary: probability from the frozen image encoder"],
    ["Raw score", "Ensemble of both, times the probability that it is any of the words; before calibration"],
  ];
  for (const [title, hint] of titles) {
    const cell = make("th", "", title);
    cell.title = hint;
    head.append(cell);
  }
  const body = table.createTBody();
  for (const word of value.words) {
    const row = body.insertRow();
    const name = make("th", "", word.word);
    name.scope = "row";
    name.title = word.seen ? "A training word: weight α" : "A new word: weight β";
    row.append(name, meter(word.inside), meter(word.outside), meter(word.score));
  }
  why.append(make("h4", "", "Words that competed"), table);
  const first = value.words[0];
  const weight = (first.seen ? "α" : "β") + " = " + first.weight.toFixed(2);
  const kind = first.seen ? "a training word" : "a new word";
  const both = value.void < 1 ? percent(Math.min(1, first.score / (1 - value.void))) : "–";
  const mixed = value.weighed
    ? `The ${value.ensemble} ensemble with ${weight} (${kind}) gives ${both}.`
    : `The mask is too small for the frozen image encoder, so only the trained classifier's ${both} counts.`;
  const score = percent(first.score);
  const scores = value.calibrated === null ? `Score ${score}.` : `Score before calibration ${score}; calibrated ${percent(value.calibrated)}.`;
  why.append(make("p", "", `${mixed} The probability of none of these words is ${percent(value.void)}.`), make("p", "scores", scores));
}

function explainRouters(routers) {
  why.append(make("h4", "routers", "TDEE's routers, last layer"));
  const list = make("dl", "votes");
  const last = routers[routers.length - 1];
  for (const [title, name] of [["Mask features", "mask"], ["Spatial features", "spatial"]]) {
    const all = routers.map((layer) => layer[name].toFixed(3)).join(" → ");
    const label = make("dt", "", title);
    label.title = "Weight of the " + name + " embedding in layers 1 to " + routers.length + ": " + all;
    list.append(label, make("dd", "", last[name].toFixed(3)), bar(last[name]));
  }
  why.append(list, make("p", "", "Mean weight over all channels, 0 to 1. The tab TDEE shows every layer."));
}

async function render() {
  const value = props.value;
  if (!value || !value.segments) return;
  const number = ++newest;
  // A result of the same photo comes without it. The window keeps one photo, because this script ends when another tab
  // of the page is opened.
  if (value.photo) window.eovsegPhoto = { key: value.photo_key, source: value.photo };
  if (window.eovsegPhoto?.key !== value.photo_key) return trigger("request_photo", {});
  const [picture_, map] = await Promise.all([loaded(window.eovsegPhoto.source), loaded(value.ids)]);
  if (number !== newest) return;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = size = [map.naturalWidth, map.naturalHeight];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(map, 0, 0);
  const bytes = context.getImageData(0, 0, size[0], size[1]).data;
  ids = new Uint32Array(size[0] * size[1]);
  for (let i = 0, j = 0; i < ids.length; i++, j += 4) ids[i] = bytes[j] | (bytes[j + 1] << 8) | (bytes[j + 2] << 16);
  const before = byId.get(pinned)?.name;
  byId = new Map(value.segments.map((segment) => [segment.id, segment]));
  for (const segment of value.segments) {
    const rgb = parseInt(segment.colour.slice(1), 16);
    segment.abgr = (0xff000000 | ((rgb & 255) << 16) | (rgb & 0xff00) | (rgb >> 16)) >>> 0;
  }
  if (photo.src !== picture_.src) photo.src = picture_.src;
  photo.alt = value.description;
  picture.style.aspectRatio = size[0] + " / " + size[1];
  picture.style.setProperty("--ratio", size[0] / size[1]);
  picture.classList.toggle("broad", size[0] > 1.2 * size[1]);
  // A pinned segment stays pinned while settings change, if the new result has a segment of the same name.
  // After a correction, and for a segment in the URL, the server sends the pinned segment.
  const again = "pin" in value ? byId.get(value.pin) : value.photo ? undefined : value.segments.find((one) => one.name === before);
  pinned = 0;
  shown = -1;
  tip.hidden = true;
  paintOverlay();
  fillLegend(value.segments);
  showUnfound(value.unfound);
  fillTable(value.segments);
  placeNames(value.segments);
  if (again) pin(again.id);
  else {
    point = null;
    show(0);
    explain(null);
    tellPinned();
  }
  find(".timing").textContent = value.timing;
  find(".nothing").hidden = value.undo || value.segments.some((segment) => !segment.other);
  find(".count").textContent = value.segments.length + (value.segments.length === 1 ? " segment" : " segments");
  find(".stage").dataset.ready = value.token;
}

picture.addEventListener("pointermove", (event) => {
  const id = idUnder(event);
  if (!pinned) show(id);
  tell(event, id);
});
picture.addEventListener("pointerleave", () => {
  tip.hidden = true;
  show(pinned);
});
picture.addEventListener("click", (event) => pin(idUnder(event), pixelUnder(event)));
picture.addEventListener("keydown", (event) => {
  if (!ids || event.target !== picture) return;
  const step = event.shiftKey ? 0.1 : 0.02;
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  const picks = event.key === "Enter" || event.key === " ";
  if (!picks && !(event.key in moves)) return;
  event.preventDefault();
  keyed = keyed.map((share, axis) => Math.min(Math.max(share + (moves[event.key]?.[axis] ?? 0), 0), 0.9999));
  [cross.style.left, cross.style.top] = keyed.map((share) => 100 * share + "%");
  cross.hidden = false;
  const box = overlay.getBoundingClientRect();
  const there = { clientX: box.left + keyed[0] * box.width, clientY: box.top + keyed[1] * box.height };
  if (picks) return pin(idUnder(there), pixelUnder(there));
  if (!pinned) show(idUnder(there));
  tell(there, idUnder(there));
});
picture.addEventListener("blur", () => {
  cross.hidden = tip.hidden = true;
  show(pinned);
});
element.addEventListener("keydown", (event) => event.key === "Escape" && pinned && pin(pinned));
opacity.addEventListener("input", () => picture.style.setProperty("--opacity", opacity.value / 100));
opacity.addEventListener("change", () => trigger("opacity", { value: opacity.value / 100 }));
find(".show-names").addEventListener("change", (event) => names.classList.toggle("off", !event.target.checked));
const divide = find(".divide input");
const grip = find(".grip");

function divideAt(share) {
  divide.value = share;
  picture.style.setProperty("--split", share + "%");
  grip.hidden = share <= 0;
}

divide.addEventListener("input", () => divideAt(Number(divide.value)));
grip.addEventListener("pointerdown", (event) => {
  grip.setPointerCapture(event.pointerId);
  event.preventDefault();
});
grip.addEventListener("pointermove", (event) => {
  if (!grip.hasPointerCapture(event.pointerId)) return;
  const box = overlay.getBoundingClientRect();
  divideAt(Math.min(Math.max((100 * (event.clientX - box.left)) / box.width, 0), 100));
});
grip.addEventListener("click", (event) => event.stopPropagation());
if (matchMedia("(max-width: 760px)").matches) find(".details").open = false;
new ResizeObserver(() => props.value?.segments && ids && placeNames(props.value.segments)).observe(picture);
for (const head of element.querySelectorAll("thead th")) {
  head.querySelector("button").addEventListener("click", () => {
    const { key } = head.dataset;
    const words = ["name", "label", "kind", "id"].includes(key);
    order = [key, order[0] === key ? -order[1] : words ? 1 : -1];
    for (const other of element.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order[1] > 0 ? "ascending" : "descending");
    fillTable(props.value.segments);
  });
}
// Gradio's own note of a wait, such as "queue: 2/3 | 4.1s", is hidden; app/page.css shows this sentence instead.
new MutationObserver(() => {
  const tracker = document.querySelector("#stage [data-testid=status-tracker]");
  const [, before, seconds] = /^queue: (\d+)\/\d+ \|\s*([\d.]+)/.exec(tracker?.textContent.trim() ?? "") ?? [];
  if (seconds >= 1) tracker.dataset.waits = `Waiting for ${before === "1" ? "a request" : before + " requests"} before yours …`;
  else delete tracker?.dataset.waits;
}).observe(document.querySelector("#stage"), { childList: true, characterData: true, subtree: true });
const answered = (event) => element.isConnected && explain(event.detail);
document.addEventListener("eovseg-why", answered);
watch("value", render);
render();
