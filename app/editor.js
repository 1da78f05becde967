// The words as a table: the body of gr.HTML's `js_on_load`. `props.value` is the table of app/editor.py, requested while
// the table is open. Edits are turned into text again, because the model reads the text.

const box = element.querySelector("details");
const body = element.querySelector("tbody");
const more = element.querySelector(".more");
let hidden = ""; // text of the classes that the table does not show
let waiting = 0;

const clean = (text) => text.replace(/[,;\n\r]+/g, " ").trim();
const textbox = () => document.querySelector("#words textarea");

function rowsNow() {
  return [...body.rows].map((row) => ({
    names: [clean(row.querySelector(".name").value), ...row.querySelector(".synonyms").value.split(",").map(clean)]
      .filter(Boolean),
    thing: row.querySelector("select").value === "thing",
  }));
}

function send() {
  const rows = rowsNow().filter((row) => row.names.length);
  if (!rows.length) return;
  const text = rows.map((row) => row.names.join(", ") + ": " + (row.thing ? "thing" : "stuff")).join("; ");
  trigger("edit", { text: hidden ? text + "; " + hidden : text });
}

function field(className, value, title) {
  const input = document.createElement("input");
  Object.assign(input, { type: "text", className, value, maxLength: 2000 });
  input.setAttribute("aria-label", title);
  input.addEventListener("change", send);
  return input;
}

function addRow({ names, added = [], thing, colour }, number) {
  const row = body.insertRow();
  const swatch = document.createElement("i");
  swatch.style.background = colour;
  const kind = document.createElement("select");
  for (const [value, title] of [["thing", "Thing"], ["stuff", "Region"]]) kind.append(new Option(title, value));
  kind.value = thing ? "thing" : "stuff";
  kind.setAttribute("aria-label", `Kind of class ${number}`);
  kind.addEventListener("change", send);
  const remove = document.createElement("button");
  Object.assign(remove, { type: "button", className: "remove", textContent: "×" });
  remove.setAttribute("aria-label", `Remove ${names[0] || "this class"}`);
  remove.addEventListener("click", () => {
    row.remove();
    send();
  });
  const synonyms = field("synonyms", names.slice(1).join(", "), `Synonyms of class ${number}`);
  synonyms.placeholder = added.join(", ");
  const cells = [
    swatch,
    field("name", names[0] ?? "", `Class ${number}`),
    synonyms,
    kind,
    remove,
  ];
  for (const node of cells) row.insertCell().append(node);
  return row;
}

function render() {
  const value = props.value;
  if (!value) return;
  const same = JSON.stringify(rowsNow()) === JSON.stringify(value.rows.map(({ names, thing }) => ({ names, thing })));
  if (same) {
    // Only colours and added synonyms changed; keeping the fields preserves the focus of a visitor who is typing.
    value.rows.forEach((row, i) => {
      body.rows[i].querySelector("i").style.background = row.colour;
      body.rows[i].querySelector(".synonyms").placeholder = row.added.join(", ");
    });
  } else {
    body.replaceChildren();
    value.rows.forEach((row, i) => addRow(row, i + 1));
  }
  hidden = value.rest;
  more.hidden = !value.more;
  more.textContent = `${value.more} more classes are only in the text.`;
}

function ask() {
  clearTimeout(waiting);
  if (box.open) waiting = setTimeout(() => trigger("read", {}), 250);
}

element.querySelector(".add").addEventListener("click", () => {
  addRow({ names: [], thing: true, colour: "transparent" }, body.rows.length + 1).querySelector(".name").focus();
});
box.addEventListener("toggle", () => {
  element.closest("#editor").classList.toggle("open", box.open);
  ask();
});
document.addEventListener("input", (event) => event.target === textbox() && ask());
document.addEventListener("eovseg-words", ask);
watch("value", render);
