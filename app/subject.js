// Pictures with a subject: the body of gr.HTML's `js_on_load`. `props.value` comes from app/subject.py.
// They are drawn only while they are open, and drawn again when the result or the pinned segment changes.

const details = element.querySelector("details");
const cards = element.querySelector(".cards");
const hint = element.querySelector(".hint");

// The listeners of a closed tab's script remain, but its element is no longer connected.
const requestPreviews = () => element.isConnected && details.open && trigger("preview", {});

function render() {
  const value = props.value;
  const found = Boolean(value && value.items);
  hint.textContent = !found
    ? "This result has no segments, so there is no subject."
    : value.name
      ? "Subject: " + value.name + ", the selected segment. Click a picture to save it."
      : "Subject: " + value.all + ". Click a segment above to make it the only subject, or a picture to save it.";
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
    card.addEventListener("click", () => trigger("save_picture", { kind: item.kind }));
    const place = make("li");
    place.append(card);
    cards.append(place);
  }
  details.dataset.shown = String(Number(details.dataset.shown || 0) + 1);
}

details.addEventListener("toggle", requestPreviews);
watch("value", render);
// A new result clears the pin; app/why.js announces every other change of the pin.
const ready = new MutationObserver(requestPreviews);
const stage = document.querySelector(".stage");
if (stage) ready.observe(stage, { attributes: true, attributeFilter: ["data-ready"] });
document.addEventListener("eovseg-why", requestPreviews);
