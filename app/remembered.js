// A visitor's words by example: the body of gr.HTML's `js_on_load`. `props.value` is `value` of app/remembered.py.
// Names and file names come from visitors, so they are set as text only.

const list = element.querySelector("ul");
const LIMIT = 4_000_000; // bytes of a file, the same as on the server

function item({ reference, name, examples, variant, file }) {
  const node = document.createElement("li");
  const text = document.createElement("span");
  text.textContent = reference;
  text.title = `${name}: ${examples} ${examples === 1 ? "example" : "examples"}, for EOV-Seg ${variant}`;
  const count = document.createElement("small");
  count.textContent = "× " + examples;
  count.title = text.title;
  const save = document.createElement("a");
  Object.assign(save, { textContent: "↓", download: reference, href: "data:application/octet-stream;base64," + file });
  save.title = "Save " + reference;
  save.setAttribute("aria-label", save.title);
  const forget = document.createElement("button");
  Object.assign(forget, { type: "button", textContent: "×", title: "Forget " + reference });
  forget.setAttribute("aria-label", forget.title);
  forget.addEventListener("click", () => trigger("forget", { reference }));
  node.append(text, count, save, forget);
  return node;
}

function show() {
  const words = props.value?.words ?? [];
  list.replaceChildren(...words.map(item));
  element.querySelector(".none").hidden = words.length > 0;
}

// One after the other, because each answer replaces the whole list.
async function loadFiles(files) {
  for (const file of files) {
    const content = file.size > LIMIT ? "" : await read(file);
    trigger("load_word", { name: file.name, data: file.size > LIMIT ? null : content });
  }
}

function read(file) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(String(reader.result).split(",")[1] ?? "");
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(file);
  });
}

const input = element.querySelector("input");
input.addEventListener("change", async () => {
  await loadFiles([...input.files]);
  input.value = "";
});
watch("value", show);
show();
