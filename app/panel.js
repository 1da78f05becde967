// The settings beside the picture: the body of gr.HTML's `js_on_load`. `props.value` comes from Page.panel:
// {model, models, settings, defaults}; a setting that has the model's own value is not in `settings`.

const SLIDERS = [
  ["alpha", "α · training words", "Weight of the frozen image encoder for words that the model was trained on: 0 ignores it, 1 uses nothing else"],
  ["beta", "β · new words", "The same weight for words that the model was not trained on, which the trained classifier recognises less well"],
  ["score_threshold", "Minimum score", "Drops segments whose best word has a lower score; with XS, half of it is enough for large segments. This is the score before calibration, the “Raw score” under “Why this class”, not the calibrated score shown on segments"],
  ["overlap_threshold", "Minimum uncovered part of a mask", "Drops segments of which less than this share is visible, because other segments cover the rest"],
  ["void_threshold", "Drop if probably none of these words", "Drops segments whose probability of showing none of your words is above this value; a lower value drops more"],
];
const TERMS = [
  ["Task", "Panoptic: every pixel belongs to one segment. Semantic: one region for each word. Instances: countable things, which may overlap"],
  ["Ensemble", "How the two probabilities are combined, with the weight a = α or β. Geometric: in^(1−a) × out^a. Arithmetic: (1−a) in + a out"],
  ["Follow the photo’s edges", "Moves the outlines of panoptic segments to where the photo’s colours change; takes a little longer"],
  ["Score of a segment", "If the model is calibrated, the score of a panoptic segment is the share of segments with this score that were right on labelled photos: the right word, and an IoU above one half. Otherwise it is the model’s own score, which is often too high or too low"],
];
const UNUSED = { semantic: ["score_threshold", "overlap_threshold"], instance: ["overlap_threshold", "void_threshold"] };
let sent = "";

for (const [name, title, hint] of SLIDERS) {
  const row = document.createElement("div");
  row.className = "slider";
  row.dataset.name = name;
  row.title = hint;
  const label = document.createElement("label");
  const input = document.createElement("input");
  label.textContent = title;
  Object.assign(input, { type: "range", min: 0, max: 1, step: 0.01, id: "set-" + name });
  input.setAttribute("aria-description", hint);
  label.htmlFor = input.id;
  const back = document.createElement("button");
  back.type = "button";
  row.append(label, back, input);
  find(".sliders").append(row);
  input.addEventListener("input", () => set(name, Number(input.value)));
  back.addEventListener("click", () => set(name, undefined));
}

for (const [title, hint] of [TERMS[0], ...SLIDERS.map(([, title, hint]) => [title, hint]), ...TERMS.slice(1)]) {
  const term = document.createElement("dt");
  const meaning = document.createElement("dd");
  term.textContent = title;
  meaning.textContent = hint + ".";
  find(".terms dl").append(term, meaning);
}

function set(name, value) {
  const settings = { ...props.value.settings };
  const own = props.value.defaults[name];
  if (value === undefined || value === own) delete settings[name];
  else settings[name] = value;
  change(settings);
}

function change(settings) {
  props.value = { ...props.value, settings };
  show();
  const now = JSON.stringify(settings);
  if (now !== sent) trigger("adjust", {});
  sent = now;
}

function show() {
  const { settings, defaults } = props.value;
  const task = settings.task ?? "panoptic";
  for (const name of ["task", "ensemble"]) {
    for (const input of element.querySelectorAll(`[data-name=${name}] input`)) {
      input.checked = input.value === (settings[name] ?? defaults[name]);
    }
  }
  for (const row of element.querySelectorAll(".slider")) {
    const name = row.dataset.name;
    const own = defaults[name];
    const value = settings[name] ?? own;
    const input = row.querySelector("input");
    const back = row.querySelector("button");
    if (document.activeElement !== input || Number(input.value) !== value) input.value = value ?? 0.5;
    const text = own === null ? "auto" : own.toFixed(2);
    input.setAttribute("aria-valuetext", value === null ? "the model decides" : value.toFixed(2));
    input.disabled = (UNUSED[task] ?? []).includes(name);
    row.classList.toggle("unused", input.disabled);
    row.classList.toggle("auto", value === null);
    row.style.setProperty("--own", own ?? -1);
    row.style.setProperty("--at", value ?? 0);
    back.textContent = value === null ? "auto" : value.toFixed(2);
    back.disabled = !(name in settings);
    back.title = "Reset to " + text;
    back.setAttribute("aria-label", `${row.querySelector("label").textContent}: reset to ${text}`);
  }
  const edges = find("#set-edges");
  edges.checked = settings.edges ?? defaults.edges;
  edges.disabled = task !== "panoptic";
  edges.closest("label").classList.toggle("unused", edges.disabled);
  find(".reset").disabled = !Object.keys(settings).length;
  showModels();
}

function showModels() {
  const box = find(".models > div");
  box.replaceChildren();
  for (const { key, title, missing } of props.value.models) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    const name = document.createElement("span");
    Object.assign(input, { type: "radio", name: "model", value: key, disabled: Boolean(missing) });
    input.checked = key === props.value.model;
    name.textContent = title;
    label.append(input, name);
    if (missing) {
      const small = document.createElement("small");
      small.textContent = missing;
      label.append(small);
    }
    input.addEventListener("change", () => {
      props.value = { ...props.value, model: key };
      trigger("model", {});
    });
    box.append(label);
  }
}

for (const name of ["task", "ensemble"]) {
  for (const input of element.querySelectorAll(`[data-name=${name}] input`)) {
    input.addEventListener("change", () => set(name, input.value));
  }
}
find("#set-edges").addEventListener("change", (event) => set("edges", event.target.checked));
find(".reset").addEventListener("click", () => change({}));
watch("value", () => {
  if (!props.value) return;
  sent = JSON.stringify(props.value.settings);
  show();
});
sent = JSON.stringify(props.value.settings);
show();
