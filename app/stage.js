// The picture that answers hover and click, its legend and its table: the body of gr.HTML's `js_on_load`.
// Gradio gives `element`, `props`, `trigger` and `watch`. `props.value` is what app/payload.py builds.
// Words are a visitor's text: they reach the page through textContent only.

const find = (selector) => element.querySelector(selector);
const picture = find(".picture");
const photo = find(".photo");
const overlay = find(".overlay");
const focusLayer = find(".focus");
const names = find(".names");
const tip = find(".tip");
const legend = find(".legend");
const rows = find("tbody");
const opacity = find(".opacity input");
const percent = (share) => (share < 0.001 ? "< 0.1" : (100 * share).toFixed(share < 0.1 ? 1 : 0)) + " %";

let ids = null; // segment id of every pixel, row by row
let size = [0, 0];
let byId = new Map();
let pinned = 0;
let shown = 0;
let newest = 0; // number of the newest picture asked for; an older one that arrives late is dropped

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function loaded(source) {
  return new Promise((done, failed) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => failed(new Error("a picture of the result could not be decoded"));
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
  const pixels = new Uint32Array(image.data.buffer); // little-endian ABGR on every browser of today
  const reach = Math.max(1, Math.round(Math.max(width, height) / 700));
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) pixels[i] = colour(ids[i], i, x, y, reach);
  }
  context.putImageData(image, 0, 0);
}

function paintOverlay() {
  paint(overlay, (id, i, x, y, reach) => {
    if (!id) return 0;
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

function pin(id) {
  pinned = id === pinned ? 0 : id;
  for (const node of legend.querySelectorAll("button")) {
    node.setAttribute("aria-pressed", String(Number(node.dataset.id) === pinned));
  }
  show(pinned);
}

function idUnder(event) {
  const box = overlay.getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left) / box.width) * size[0]);
  const y = Math.floor(((event.clientY - box.top) / box.height) * size[1]);
  return x < 0 || y < 0 || x >= size[0] || y >= size[1] || !ids ? 0 : ids[y * size[0] + x];
}

function tell(event, id) {
  const segment = byId.get(id);
  tip.hidden = !segment;
  if (!segment) return;
  tip.replaceChildren(
    make("b", "", segment.name),
    make("span", "", percent(segment.score) + " sure · " + percent(segment.share) + " of the photo"),
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
    if (segment.share < 0.004) continue;
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

function listen(node, id) {
  node.addEventListener("pointerenter", () => show(id));
  node.addEventListener("pointerleave", () => show(pinned));
  node.addEventListener("click", () => pin(id));
}

function fillLegend(segments) {
  legend.replaceChildren();
  for (const [title, things] of [["Things", true], ["Regions", false]]) {
    const group = segments.filter((segment) => segment.thing === things);
    if (!group.length) continue;
    const line = make("div", "group");
    line.append(make("h3", "", title));
    for (const segment of group) {
      const chip = make("button", "chip");
      chip.type = "button";
      chip.dataset.id = segment.id;
      chip.setAttribute("aria-pressed", "false");
      const swatch = make("i");
      swatch.style.background = segment.colour;
      chip.append(swatch, make("span", "", segment.name));
      listen(chip, segment.id);
      chip.addEventListener("focus", () => chip.matches(":focus-visible") && show(segment.id));
      chip.addEventListener("blur", () => show(pinned));
      line.append(chip);
    }
    legend.append(line);
  }
}

function meter(share) {
  const cell = make("td", "number", percent(share));
  cell.style.setProperty("--share", share);
  return cell;
}

function fillTable(segments) {
  rows.replaceChildren();
  for (const segment of segments) {
    const row = make("tr");
    row.dataset.id = segment.id;
    const name = make("th");
    name.scope = "row";
    const swatch = make("i");
    swatch.style.background = segment.colour;
    name.append(swatch, make("span", "", segment.name));
    row.append(make("td", "id", segment.id), name, make("td", "", segment.label));
    row.append(make("td", "", segment.thing ? "thing" : "stuff"));
    for (const share of [segment.score, segment.in_vocabulary, segment.out_of_vocabulary, segment.share]) {
      row.append(meter(share));
    }
    listen(row, segment.id);
    rows.append(row);
  }
}

async function render() {
  const value = props.value;
  if (!value || !value.segments) return;
  const number = ++newest;
  const [picture_, map] = await Promise.all([loaded(value.photo), loaded(value.ids)]);
  if (number !== newest) return;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = size = [map.naturalWidth, map.naturalHeight];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(map, 0, 0);
  const bytes = context.getImageData(0, 0, size[0], size[1]).data;
  ids = new Uint32Array(size[0] * size[1]);
  for (let i = 0, j = 0; i < ids.length; i++, j += 4) ids[i] = bytes[j] | (bytes[j + 1] << 8) | (bytes[j + 2] << 16);
  byId = new Map(value.segments.map((segment) => [segment.id, segment]));
  for (const segment of value.segments) {
    const rgb = parseInt(segment.colour.slice(1), 16);
    segment.abgr = (0xff000000 | ((rgb & 255) << 16) | (rgb & 0xff00) | (rgb >> 16)) >>> 0;
  }
  photo.src = picture_.src;
  photo.alt = value.description;
  picture.style.aspectRatio = size[0] + " / " + size[1];
  picture.style.setProperty("--ratio", size[0] / size[1]);
  pinned = 0;
  shown = -1;
  show(0);
  tip.hidden = true;
  paintOverlay();
  fillLegend(value.segments);
  fillTable(value.segments);
  placeNames(value.segments);
  find(".timing").textContent = value.timing;
  find(".nothing").hidden = value.segments.length > 0;
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
picture.addEventListener("click", (event) => pin(idUnder(event)));
element.addEventListener("keydown", (event) => event.key === "Escape" && pinned && pin(pinned));
opacity.addEventListener("input", () => picture.style.setProperty("--opacity", opacity.value / 100));
opacity.addEventListener("change", () => trigger("opacity", { value: opacity.value / 100 }));
find(".show-names").addEventListener("change", (event) => names.classList.toggle("off", !event.target.checked));
const compare = find(".compare");
const peek = (on) => picture.classList.toggle("bare", on);
compare.addEventListener("pointerdown", () => peek(true));
for (const type of ["pointerup", "pointerleave", "blur"]) compare.addEventListener(type, () => peek(false));
compare.addEventListener("keydown", (event) => (event.key === " " || event.key === "Enter") && peek(true));
compare.addEventListener("keyup", () => peek(false));
if (matchMedia("(max-width: 760px)").matches) find(".details").open = false;
new ResizeObserver(() => props.value?.segments && ids && placeNames(props.value.segments)).observe(picture);
watch("value", render);
render();
