// A guided tour of eight steps, started by the button "Tour": the body of gr.HTML's `js_on_load`.
// It opens tabs and highlights parts of the page; it changes no photo, word or setting.

const STEPS = [
  ["Segment", ".ask", "1. Words and a photo", "You write the classes: any words, separated by semicolons; commas add synonyms. The network was not trained on this list. It compares the text of each word with the photo."],
  ["Segment", ".stage .mat", "2. Every pixel gets a name", "In panoptic segmentation, every thing (bus 1, bus 2) is a segment of its own, and each kind of stuff (sky, road) is one region. Pixels without colour match none of the words."],
  ["Segment", ".stage .legend", "3. Why this class?", "Click a segment in the photo or here. The panel shows the probabilities of both classifiers: one was trained together with the masks, the other uses the frozen image encoder, which also recognises words that were not in the training."],
  ["Segment", "#panel", "4. How the classifiers are combined", "α and β weight the two classifiers, α for training words and β for new words. Move a slider: the result is composed again from the stored outputs of the network, so it changes immediately."],
  ["VAS", "#tabs", "5. VAS: words weight the pixels", "Vocabulary-Aware Selection (Eq. 3 and 4 of the paper) multiplies each pixel by a weight that says how clearly one of your words fits it. Compare the similarity map of a word before and after VAS."],
  ["TDEE", "#tabs", "6. TDEE: joining two embeddings", "The Two-way Dynamic Embedding Experts join the mask embedding and the spatial embedding of each kernel. Two routers weight them, channel by channel. Compare the result without and with TDEE."],
  ["Decoder", "#tabs", "7. The decoder, layer by layer", "Each of the 64 or 100 kernels proposes one mask and one class. Follow one of them through the layers: its mask develops from a first guess into the final segment."],
  ["Segment", ".downloads", "8. Download", "Save masks, tables and files for labelling tools. Below them is the Python call that makes the same picture. The notebooks continue from here."],
];
const dialog = element.querySelector("dialog");
const part = (selector) => dialog.querySelector(selector);
let step = 0;
let marked = null;

const tabs = () => [...document.querySelectorAll('#tabs [role="tab"], #tabs .overflow-dropdown button')];

function open(title) {
  const found = tabs().filter((tab) => tab.textContent.trim() === title);
  (found.find((tab) => tab.offsetParent) ?? found[0])?.click();
}

function unmark() {
  marked?.classList.remove("toured");
  marked = null;
}

function show(number) {
  step = Math.min(Math.max(number, 0), STEPS.length - 1);
  const [tab, target, title, text] = STEPS[step];
  open(tab);
  part(".count").textContent = `Step ${step + 1} of ${STEPS.length}`;
  part("h2").textContent = title.replace(/^\d+\. /, "");
  part(".text").textContent = text;
  part(".back").disabled = step === 0;
  part(".next").textContent = step === STEPS.length - 1 ? "Finish" : "Next";
  if (!dialog.open) dialog.show();
  unmark();
  requestAnimationFrame(() => {
    marked = document.querySelector(target);
    marked?.classList.add("toured");
    const tall = marked && marked.offsetHeight > innerHeight / 2;
    marked?.scrollIntoView({ block: tall ? "start" : "nearest", behavior: "instant" });
  });
}

function end() {
  unmark();
  dialog.close();
  document.querySelector(".masthead .tour-start")?.focus();
}

const next = () => (step === STEPS.length - 1 ? end() : show(step + 1));
part(".next").addEventListener("click", next);
part(".back").addEventListener("click", () => show(step - 1));
part(".end").addEventListener("click", end);
document.addEventListener("click", (event) => {
  if (!event.target.closest(".masthead .tour-start")) return;
  show(0);
  part(".next").focus();
});
document.addEventListener("keydown", (event) => {
  if (!dialog.open || event.target.closest("input, textarea, select, [contenteditable]")) return;
  const keys = { Escape: end, ArrowRight: next, ArrowLeft: () => show(step - 1) };
  if (!keys[event.key] || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  event.stopPropagation();
  keys[event.key]();
}, true);
