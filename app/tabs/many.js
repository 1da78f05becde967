// The tab Many: files are uploaded one by one, then `start_run` sends their names; `props.value` is `Progress.value` of app/many.py.
// Names and words come from visitors, so they are set as textContent only.

const drop = find(".drop");
const input = find("input");
const said = find(".said");
const told = find(".told");
const bar = find("progress");
const gallery = find(".gallery");
const percent = (share) => (share > 0 && share < 0.001 ? "< 0.1" : (100 * share).toFixed(share < 0.1 ? 1 : 0)) + " %";
let token = "";
let drawn = 0;
let busy = false;

function tell(sentence) {
  told.textContent = sentence;
  told.hidden = !sentence;
}

function going(on, sentence = "", share = 0) {
  busy = on;
  find(".going").hidden = !on;
  drop.classList.toggle("busy", on);
  input.disabled = on;
  said.textContent = sentence;
  bar.value = share;
}

async function addFiles(list) {
  const files = [...list];
  if (busy || !files.length) return;
  if (files.length > MAX_FILES) return tell(`${files.length} files are too many; choose at most MAX_FILES photos.`);
  tell("");
  window.eovsegMany = null;
  going(true, "");
  find(".stop").hidden = true;
  const sent = [];
  for (const [place, file] of files.entries()) {
    going(true, `Uploading ${place + 1} of ${files.length} …`, place / files.length);
    try {
      const { path } = await upload(file);
      sent.push({ path, name: file.name });
    } catch (error) {
      tell(`"${file.name}" could not be uploaded; it may be too large for this page.`);
    }
  }
  input.value = "";
  if (!sent.length) return going(false);
  going(true, "Waiting in the queue …");
  find(".stop").hidden = false;
  trigger("start_run", { files: sent, words: document.querySelector("#words textarea").value });
}

function card(item) {
  const place = make("li", item.error ? "failed" : "");
  if (item.error) {
    place.append(make("p", "error", item.error));
  } else {
    const picture = make("img");
    picture.src = item.source;
    picture.alt = item.words.map((one) => one.word).join(", ") || "Nothing was found";
    place.append(picture);
  }
  const words = make("div", "words");
  for (const { word, count, colour } of item.words ?? []) {
    const chip = make("span", "", word + (count > 1 ? " × " + count : ""));
    chip.style.setProperty("--colour", colour);
    words.append(chip);
  }
  if (item.more) words.append(make("span", "bare", "+ " + item.more));
  if (!item.error && !item.words.length) words.append(make("span", "bare", "none of the words"));
  place.append(make("b", "", item.name), words);
  return place;
}

function render() {
  const value = props.value;
  if (!value || !value.token) return going(false);
  if (value.token !== token) {
    token = value.token;
    drawn = 0;
    gallery.replaceChildren();
    find(".ready").hidden = find(".film").hidden = true;
  }
  for (const item of value.cards.slice(drawn)) gallery.append(card(item));
  drawn = value.cards.length;
  const rows = find("tbody");
  rows.replaceChildren();
  find(".where").textContent = value.clip ? "Frames" : "Photos";
  for (const one of value.words) {
    const row = make("tr");
    row.append(make("th", "", one.word));
    for (const text of [`${one.pictures} of ${value.made}`, one.segments, percent(one.score), percent(one.share)]) {
      row.append(make("td", "n", text));
    }
    rows.append(row);
  }
  find(".sums").hidden = !value.words.length;
  const running = value.state === "running";
  const what = value.clip ? "frames" : "photos";
  going(running, `${value.done} of ${value.of} ${what}`, value.done / Math.max(1, value.of));
  if (!running) tell(value.note || (value.state === "nothing" ? "There is nothing to save: no picture could be segmented." : ""));
  element.firstElementChild.dataset.state = value.state;
}

// The files arrive after the last value, as URLs that are known only to this browser tab. The window keeps them, because this
// script ends when another tab of the page is opened.
function showFiles() {
  if (!element.isConnected || !window.eovsegMany) return;
  const { pack, film } = window.eovsegMany;
  find(".ready").hidden = !pack;
  if (pack) {
    find(".save").href = pack.url;
    find(".save").download = pack.name || "segments.zip";
    find(".ready span").textContent = film ? "the video, its tracks, and a table" : "overlays, masks, and a table of all segments";
  }
  find(".film").hidden = !film;
  if (film) find("video").src = film.url;
  going(false);
}

document.addEventListener("eovseg-many", showFiles);

watch("value", render);
input.addEventListener("change", () => addFiles(input.files));
find(".stop").addEventListener("click", () => {
  said.textContent = "Stopping …";
  trigger("stop_run", {});
});
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  addFiles(event.dataTransfer.files);
});
render();
if (props.value?.state === "done") showFiles();
