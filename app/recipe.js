// The calls that reproduce the picture: the body of gr.HTML's `js_on_load`. `props.value` is app/recipe.py's.

const find = (selector) => element.querySelector(selector);
const KINDS = [
  ["python", "Python", "Needs this project installed: pip install -r requirements.txt."],
  ["cli", "Command line", "Needs this project installed: pip install -r requirements.txt."],
  ["client", "API, Python", "Asks this server: pip install gradio_client."],
  ["curl", "API, curl", "Asks this server."],
];
let kind = "python";
let segment = 0; // that is pinned

const address = () => location.origin + location.pathname.replace(/\/$/, "");

function show() {
  const value = props.value;
  if (!value) return;
  const [, , hint] = KINDS.find(([name]) => name === kind);
  const shrunk = value.shrunk ? " The page scaled your photo down first; the call works on the photo as it is." : "";
  find("code").textContent = value[kind].replaceAll("{address}", address());
  const corrected = value.corrected && kind !== "python" ? " Your corrections are in the Python call only." : "";
  const words = kind === "python" || kind === "cli" ? " Save the .word files beside it." : " The API takes typed words only.";
  find(".hint").textContent = hint + shrunk + corrected + (value.examples ? words : "");
  for (const tab of find(".kinds").children) tab.setAttribute("aria-selected", String(tab.dataset.kind === kind));
}

for (const [name, title] of KINDS) {
  const tab = document.createElement("button");
  Object.assign(tab, { type: "button", textContent: title });
  tab.setAttribute("role", "tab");
  tab.dataset.kind = name;
  tab.addEventListener("click", () => {
    kind = name;
    show();
  });
  find(".kinds").append(tab);
}

async function copy(text, said) {
  try {
    await navigator.clipboard.writeText(text);
    find("[role=status]").textContent = said;
  } catch {
    find("[role=status]").textContent = "The browser does not allow copying here; select the text instead.";
  }
  setTimeout(() => (find("[role=status]").textContent = ""), 4000);
}

find(".copy").addEventListener("click", () => copy(find("code").textContent, "Copied."));
find(".link").addEventListener("click", () => {
  const example = new URLSearchParams(props.value.link).has("photo");
  const pinned = segment && example ? "&segment=" + segment : "";
  copy(address() + "/?" + props.value.link + pinned, example ? "Link copied." : "Link copied; it opens with an example photo.");
});
document.addEventListener("eovseg-pin", (event) => (segment = event.detail.id));
watch("value", show);
show();
