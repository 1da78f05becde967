// Two pictures with a divider: the body of gr.HTML's `js_on_load`. `props.value` comes from app/tabs/compare.py.
// A click, or the arrow keys and Enter, picks a pixel; a row of the table highlights its frame in the picture.
// Words are typed by visitors, so they are set as textContent only.

const section = find(".compare");
const pair = find(".pair");
const left = find("img.left");
const right = find("img.right");
const range = find("input[type=range]");
const cross = find(".cross");
const marks = find(".marks");
let point = [0.5, 0.5]; // position of the cross, as shares of width and height

function divide(share) {
  pair.style.setProperty("--divide", share + "%");
  range.value = share;
  find(".tag.before").hidden = share < 2; // nothing of this picture can be seen
  find(".tag.after").hidden = share > 98;
}

function place(x, y) {
  point = [Math.min(Math.max(x, 0), 0.9999), Math.min(Math.max(y, 0), 0.9999)];
  cross.style.left = 100 * point[0] + "%";
  cross.style.top = 100 * point[1] + "%";
  cross.hidden = false;
}

function pick() {
  const [width, height] = props.value.size;
  trigger("pick", { x: Math.floor(point[0] * width), y: Math.floor(point[1] * height) });
}

function light(number) {
  for (const node of element.querySelectorAll("[data-number]")) node.classList.toggle("on", node.dataset.number === number);
  marks.classList.toggle("some", number !== "");
}

function frame(row, index, rows) {
  const [x0, y0, x1, y1] = row.box;
  const node = make("div", "frame " + row.kind);
  node.dataset.number = row.number;
  Object.assign(node.style, { left: 100 * x0 + "%", top: 100 * y0 + "%", width: 100 * (x1 - x0) + "%", height: 100 * (y1 - y0) + "%" });
  node.style.setProperty("--kind", row.colour);
  // Numbers of frames that start at the same corner are placed side by side.
  const near = rows.slice(0, index).filter((other) => Math.abs(other.box[0] - x0) < 0.05 && Math.abs(other.box[1] - y0) < 0.07);
  node.style.setProperty("--step", near.length);
  node.append(make("b", "", row.number));
  return node;
}

function line(row) {
  const node = make("tr");
  node.dataset.number = row.number;
  node.tabIndex = 0;
  row.cells.forEach((text, index) => {
    const cell = make(index ? "td" : "th", "", index ? text : undefined);
    if (!index) {
      const badge = make("i", row.kind, row.number);
      badge.style.setProperty("--kind", row.colour);
      cell.append(badge, make("span", "", text));
      cell.scope = "row";
    }
    node.append(cell);
  });
  node.addEventListener("pointerenter", () => light(row.number));
  node.addEventListener("pointerleave", () => light(""));
  node.addEventListener("focus", () => light(row.number));
  node.addEventListener("blur", () => light(""));
  return node;
}

async function render() {
  const value = props.value;
  if (!value || !value.left) return;
  left.src = value.left.source;
  right.src = value.right.source;
  left.alt = value.left.alt;
  right.alt = value.right.alt;
  pair.style.aspectRatio = value.size.join(" / ");
  pair.style.setProperty("--ratio", value.size[0] / value.size[1]);
  for (const [side, given] of [["before", value.left], ["after", value.right]]) {
    find(".tag." + side).textContent = given.name;
  }
  range.setAttribute("aria-label", "Divider between " + value.left.name + " and " + value.right.name + ", percent");
  find(".scale").hidden = !value.scale;
  if (value.scale) {
    find(".low").textContent = value.scale.low;
    find(".high").textContent = value.scale.high;
    find(".scale em").textContent = value.scale.unit;
    find(".scale i").style.background = value.scale.gradient;
  }
  find(".hint").hidden = !value.hint;
  find(".hint").textContent = value.hint;
  cross.hidden = true;
  pair.classList.toggle("picks", Boolean(value.point));
  if (value.point) {
    pair.tabIndex = 0;
    pair.setAttribute("role", "application");
    pair.setAttribute("aria-label", "Picture. The arrow keys move the crosshair, Enter picks its pixel.");
    place((value.point[0] + 0.5) / value.size[0], (value.point[1] + 0.5) / value.size[1]);
  }
  const framed = value.rows.filter((row) => row.box);
  marks.replaceChildren(...framed.map(frame));
  find(".frames").hidden = !framed.length;
  find(".scroll").hidden = !value.rows.length;
  find("thead tr").replaceChildren(...value.columns.map((name) => make("th", "", name)));
  find("tbody").replaceChildren(...value.rows.map(line));
  section.hidden = false;
  await Promise.all([left.decode(), right.decode()]).catch(() => {});
  section.dataset.ready = value.token;
}

const share = (event) => {
  const box = pair.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
};
const grip = find(".grip");
grip.addEventListener("pointerdown", (event) => {
  grip.setPointerCapture(event.pointerId);
  event.preventDefault();
});
grip.addEventListener("pointermove", (event) => {
  if (grip.hasPointerCapture(event.pointerId)) divide(Math.min(Math.max(100 * share(event)[0], 0), 100));
});
grip.addEventListener("click", (event) => event.stopPropagation());
range.addEventListener("input", () => divide(Number(range.value)));
pair.addEventListener("click", (event) => {
  if (!props.value?.point) return;
  place(...share(event));
  pick();
});
pair.addEventListener("keydown", (event) => {
  if (!props.value?.point || event.target !== pair) return;
  const step = event.shiftKey ? 0.1 : 0.02;
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (event.key in moves) place(point[0] + moves[event.key][0], point[1] + moves[event.key][1]);
  else if (event.key === "Enter" || event.key === " ") pick();
  else return;
  event.preventDefault();
});
find(".frames input").addEventListener("change", (event) => marks.classList.toggle("off", !event.target.checked));
divide(50);
watch("value", render);
render();
