// Pictures with a subject: the body of gr.HTML's `js_on_load`. `props.value` is what app/subject.py builds.
// They are drawn only while they are open, and again when a result or a pinned segment is another one.

const details = element.querySelector("details");
const cards = element.querySelector(".cards");
const hint = element.querySelector(".hint");

// The listeners of a script whose tab was closed stay; its element is no longer in the page.
const look = () => element.isConnected && details.open && trigger("look", {});

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function render() {
  const value = props.value;
  const found = Boolean(value && value.items);
  hint.textContent = !found
    ? "Nothing was found in this photo, so there is nothing to put in front."
    : value.name
      ? "In front: " + value.name + ", which is pinned. Click a picture to save it."
      : "In front: " + value.all + ". Click a segment above to put it alone in front, or a picture to save it.";
  cards.replaceChildren();
  for (const item of found ? value.items : []) {
    const card = make("button", "card " + item.kind);
    card.type = "button";
    card.dataset.kind = item.kind;
    const picture = make("img");
    picture.src = item.source;
    picture.alt = "";
    const frame = make("span", "frame");
    frame.append(picture);
    card.append(frame, make("b", "", item.title), make("small", "", item.note));
    card.addEventListener("click", () => trigger("take", { kind: item.kind }));
    const place = make("li");
    place.append(card);
    cards.append(place);
  }
  details.dataset.shown = String(Number(details.dataset.shown || 0) + 1);
}

details.addEventListener("toggle", look);
watch("value", render);
// A new result clears the pin, and every change of the pin is told by app/why.js.
const ready = new MutationObserver(look);
const stage = document.querySelector(".stage");
if (stage) ready.observe(stage, { attributes: true, attributeFilter: ["data-ready"] });
document.addEventListener("eovseg-why", look);
