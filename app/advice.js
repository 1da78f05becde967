// Suggests words, checks the list and shows what would rename the pinned segment: the body of gr.HTML's `js_on_load`.
// `props.value` comes from app/advice.py. Words are typed by visitors, so they are set as textContent only.

const found = find(".found");
const textbox = () => document.querySelector("#words textarea");
let added = null; // text of the word box after a word was added from here
let pinned = null; // value of app/why.py for the pinned segment

function button(text, work, className = "") {
  const node = make("button", className, text);
  node.type = "button";
  node.addEventListener("click", work);
  return node;
}

function busy(node, text) {
  node.focused = document.activeElement === node;
  node.before = node.textContent;
  node.disabled = true;
  node.textContent = text;
}

function free(node) {
  if (!node?.disabled) return;
  node.disabled = false;
  node.textContent = node.before;
  if (node.focused && document.activeElement === document.body) node.focus({ preventScroll: true });
}

function add(word) {
  const box = textbox();
  const text = box.value.replace(/[;\s]+$/, "");
  const set = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set;
  added = text ? `${text}; ${word}` : word;
  set.call(box, added);
  box.dispatchEvent(new Event("input", { bubbles: true }));
}

function showCheck({ text, sentences, add: words }) {
  if (text !== textbox().value) return; // the words have changed meanwhile
  const list = document.createElement("ul");
  for (const sentence of sentences) list.append(make("li", "", sentence));
  const row = make("p", "", words.length ? "This photo may also contain " : "");
  for (const word of words) {
    row.append(button(`+ ${word}`, (event) => {
      add(word);
      event.target.disabled = true;
    }, "word"));
  }
  const close = button("×", () => (found.hidden = true), "close");
  close.setAttribute("aria-label", "Close");
  found.replaceChildren(close, ...(sentences.length ? [list] : [make("p", "", "Every word of this list can win a segment in this photo.")]), row);
  found.hidden = false;
}

// Adds to "Why this class", which app/stage.js fills on the same event, above the routers, where it is seen unscrolled.
function explain(value) {
  pinned = value?.name && !value.other ? value : null;
  const why = document.querySelector(".stage .why");
  if (!pinned || !why || why.hidden) return;
  const place = why.querySelector(".routers");
  if (value.likely.length) {
    const words = value.likely.slice(0, 5).join(", ");
    const more = value.likely.length > 5 ? ` and ${value.likely.length - 5} more` : "";
    why.insertBefore(make("p", "", `The right word is among these in 9 of 10 cases: ${words}${more}.`), place);
  }
  const ask = button("What would change this answer?", () => {
    busy(ask, "Trying changes …");
    trigger("find_changes", { segment: pinned.segment });
  }, "change");
  why.insertBefore(ask, place);
}

function showChanges({ segment, revision, label, sentences }) {
  const ask = document.querySelector(".stage .why .change");
  if (!ask || pinned?.segment !== segment || pinned.revision !== revision) return;
  const list = document.createElement("ul");
  for (const sentence of sentences) list.append(make("li", "", sentence));
  const title = make("h4", "", sentences.length ? `The smallest changes after which it is no longer “${label}”` : `It stays “${label}” after every change that was tried`);
  ask.replaceWith(title, list);
  list.scrollIntoView({ block: "nearest" }); // beside the picture, the panel is only as high as that
}

find(".suggest").addEventListener("click", (event) => {
  busy(event.target, "Looking …");
  trigger("suggest", {});
});
find(".check").addEventListener("click", (event) => {
  busy(event.target, "Checking …");
  trigger("check", {});
});
const answered = (event) => element.isConnected && setTimeout(() => explain(event.detail));
document.addEventListener("eovseg-why", answered);
const ended = ({ detail }) => free(detail === "change" ? document.querySelector(".stage .why .change") : find("." + detail));
document.addEventListener("eovseg-advised", ended); // app/advice.py says which request has ended
watch("value", () => {
  const value = props.value;
  if (value?.kind === "changed" || (value?.kind === "words" && textbox().value !== added)) found.hidden = true;
  if (value?.kind === "check") showCheck(value);
  if (value?.kind === "changes") showChanges(value);
});
