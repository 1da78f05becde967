// The calls that reproduce the picture: the body of gr.HTML's `js_on_load`. `props.value` comes from app/recipe.py.

const INSTALL = "Needs this project installed: in its folder, pip install -r requirements.txt and pip install --no-deps -e .";
const KINDS = [
  ["python", "Python", INSTALL],
  ["cli", "Command line", INSTALL],
  ["client", "API, Python", "Calls this server. Needs: pip install gradio_client."],
  ["curl", "API, curl", "Calls this server."],
];
let kind = "python";
let segment = 0; // id of the pinned segment

const address = () => location.origin + location.pathname.replace(/\/$/, "");

function show() {
  const value = props.value;
  if (!value) return;
  const [, , hint] = KINDS.find(([name]) => name === kind);
  const shrunk = value.shrunk ? " This page scaled your photo down; the call uses the original." : "";
  find("code").textContent = value[kind].replaceAll("{address}", address());
  const corrected = value.corrected && kind !== "python" ? " Only the Python call contains your corrections." : "";
  const words = kind === "python" || kind === "cli" ? " Save the .word files in the same folder." : " The API accepts typed words only.";
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
    find("[role=status]").textContent = "The browser does not allow copying here; select the text and copy it.";
  }
  setTimeout(() => (find("[role=status]").textContent = ""), 4000);
}

find(".copy").addEventListener("click", () => copy(find("code").textContent, "Copied."));
find(".link").addEventListener("click", () => {
  const example = new URLSearchParams(props.value.link).has("photo");
  const pinned = segment && example ? "&segment=" + segment : "";
  copy(address() + "/?" + props.value.link + pinned, example ? "Link copied." : "Link copied; it opens with an example photo instead of yours.");
});
document.addEventListener("eovseg-pin", (event) => (segment = event.detail.id));
watch("value", show);
show();
