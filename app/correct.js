// Corrections of the pinned segment: the body of gr.HTML's `js_on_load`. The bar is part of the stage, below the picture;
// app/stage.js announces what is pinned. Names are typed by visitors, so they are set as text only.

const template = element.querySelector("template").content;
let state = { id: 0, segments: [], undo: 0 };

function slot() {
  const place = document.querySelector(".stage .correct-slot");
  if (place && !place.firstElementChild) fill(place);
  return place;
}

const part = (selector) => slot().querySelector(selector);

function ask(kind, values) {
  trigger("correct", { kind, segment: state.id, ...values });
}

function fill(place) {
  place.append(document.importNode(template, true));
  const on = (selector, event, act) => place.querySelector(selector).addEventListener(event, act);
  const name = () => place.querySelector("input").value.trim();
  on("form", "submit", (event) => {
    event.preventDefault();
    ask("rename", { name: name() });
  });
  on(".remember", "click", () => trigger("remember", { segment: state.id, name: name() }));
  // The arrow keys change a closed list, so a choice alone does not merge.
  on("select", "change", (event) => (part(".merge").disabled = !event.target.value));
  on(".merge", "click", () => ask("merge", { other: Number(part("select").value) }));
  on(".split", "click", () => ask("split", { x: state.point[0], y: state.point[1] }));
  on(".delete", "click", () => ask("delete", {}));
  on(".undo", "click", () => trigger("undo", {}));
}

function show() {
  if (!slot()) return;
  const chosen = state.segments.find((segment) => segment.id === state.id);
  part(".correct").hidden = !chosen && !state.undo;
  for (const node of [part(".name"), part(".acts")]) node.hidden = !chosen;
  const times = state.undo === 1 ? "1 correction" : state.undo + " corrections";
  part(".done").hidden = !state.undo;
  part(".done span").textContent = times + ". All downloads contain them; a new result discards them.";
  if (!chosen) return;
  part("input").value = chosen.label;
  part("datalist").replaceChildren(...[...new Set(state.segments.map((s) => s.label))].map((label) => new Option(label)));
  const others = state.segments.filter((segment) => segment.id !== state.id);
  part("select").replaceChildren(new Option("choose …", ""), ...others.map((s) => new Option(s.name, s.id)));
  part("select").disabled = !others.length;
  part(".merge").disabled = true;
  part(".split").disabled = !state.point;
  part(".split").title = state.point
    ? "Makes the part that you clicked a separate segment, if it does not touch the rest"
    : "Click the part on the picture first";
}

const usable = (node) => node && !node.disabled && node.checkVisibility();

// A control that disappears or is disabled hands the focus on, so that the keyboard stays here.
function keepFocus(held, last) {
  if (!held || usable(held)) return;
  const chip = (which) => document.querySelector(".stage .chip" + which);
  [part("select"), chip(`[data-id="${last}"]`), part(".undo"), chip("")].find(usable)?.focus();
}

const pinned = (event) => {
  if (!element.isConnected) return;
  const held = slot()?.contains(document.activeElement) ? document.activeElement : null;
  const last = state.id;
  state = event.detail;
  show();
  keepFocus(held, last);
};
document.addEventListener("eovseg-pin", pinned);
