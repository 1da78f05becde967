// Keeps the address of the page at what it shows, for the example photos: words, settings, tab and pinned segment.
// The body of gr.HTML's `js_on_load`. The query of a result stands in the notes (app/link.py); the stage tells what is
// pinned. The address changes when a visitor changes something, never by itself.

const LONGEST = 4000; // characters that an address may have; a longer one would be cut by some programs
const first = new URLSearchParams(location.search);
let query = null; // of the result that is shown
let start = null; // of the one that the page began with
let tab = "segment";
let segment = 0;
let restored = !first.has("words");
let waiting = ""; // the tab that the address asks for, until the result is drawn

const tabOf = (button) => button?.textContent.trim().toLowerCase();

function write() {
  if (query === null || !restored) return;
  const here = new URLSearchParams(location.search);
  if (!here.has("words") && query === start && tab === "segment" && !segment) return;
  const values = new URLSearchParams(query);
  if (tab !== "segment") values.set("tab", tab);
  if (segment) values.set("segment", segment);
  // An own photo is in no address; one that opened another photo would say something else.
  const kept = values.has("photo") ? values : new URLSearchParams();
  for (const [name, value] of here) if (name.startsWith("__")) kept.set(name, value); // Gradio's, as __theme
  const text = kept.toString();
  const address = location.pathname + (text && text.length <= LONGEST ? "?" + text : "");
  if (address !== location.pathname + location.search) history.replaceState(history.state, "", address);
}

function read() {
  const node = document.querySelector(".notes .link");
  if (!node || node.dataset.query === undefined) return;
  if (query !== node.dataset.query && tab !== "segment") segment = 0; // that of another result
  query = node.dataset.query;
  start ??= query;
  if (!restored && (node.dataset.tab !== undefined || query !== start)) {
    restored = true;
    waiting = node.dataset.tab ?? "";
    setTimeout(openTab, 3000); // however it went with the picture
  }
  write();
}

function openTab() {
  // Gradio has each button twice: once unseen, to measure it, and once more in a menu where there is no room.
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
