// Keeps the URL of the page up to date with words, settings, tab and pinned segment, for the example photos.
// The body of gr.HTML's `js_on_load`. The query of a result is hidden in the notes (app/link.py); the stage announces what
// is pinned. The URL changes only when a visitor changes something.

const LONGEST = 4000; // maximum length of the URL in characters; some programs truncate longer ones
const first = new URLSearchParams(location.search);
let query = null; // of the result on the page
let start = null; // of the first result
let tab = "segment";
let segment = 0;
const linked = (query) => query.has("words") || query.has("photo"); // as in app/recipe.py
let restored = !linked(first);
let waiting = ""; // the tab in the URL, until the result is drawn

const tabOf = (button) => button?.textContent.trim().toLowerCase();

function write() {
  if (query === null || !restored) return;
  const here = new URLSearchParams(location.search);
  if (!linked(here) && query === start && tab === "segment" && !segment) return;
  const values = new URLSearchParams(query);
  if (tab !== "segment") values.set("tab", tab);
  if (segment) values.set("segment", segment);
  // A visitor's own photo cannot be in a URL, and a link that opens another photo would be misleading.
  const kept = values.has("photo") ? values : new URLSearchParams();
  for (const [name, value] of here) if (name.startsWith("__")) kept.set(name, value); // parameters of Gradio, such as __theme
  const text = kept.toString();
  const address = location.pathname + (text && text.length <= LONGEST ? "?" + text : "");
  if (address !== location.pathname + location.search) history.replaceState(history.state, "", address);
}

function read() {
  const node = document.querySelector(".notes .link");
  if (!node || node.dataset.query === undefined) return;
  if (query !== node.dataset.query && tab !== "segment") segment = 0; // it belonged to another result
  query = node.dataset.query;
  start ??= query;
  if (!restored && (node.dataset.tab !== undefined || query !== start)) {
    restored = true;
    waiting = node.dataset.tab ?? "";
    setTimeout(openTab, 3000); // even if the picture fails to draw
  }
  write();
}

function openTab() {
  // Gradio has several copies of each button: a hidden one to measure it, and one in the overflow menu.
  const buttons = [...document.querySelectorAll("#tabs [role=tab], #tabs .overflow-dropdown button")];
  const button = buttons.find((one) => tabOf(one) === waiting && !one.closest("[aria-hidden=true]"));
  if (waiting && waiting !== tab) button?.click();
  waiting = "";
}

document.addEventListener("click", (event) => {
  if (!event.target.closest?.("#tabs .tab-wrapper, #tabs .tab-container, #tabs .overflow-menu")) return;
  const name = tabOf(event.target.closest("button"));
  if (!/^[a-z][a-z ]{0,19}$/.test(name ?? "")) return;
  tab = name;
  write();
});
document.addEventListener("eovseg-pin", (event) => {
  segment = event.detail.id;
  if (waiting) openTab();
  write();
});
new MutationObserver(read).observe(document.body, { childList: true, subtree: true });
read();
