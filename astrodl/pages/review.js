// The review: one object at a time, a key per label, progress kept in the browser.
const stage = element("object"), film = element("film"), place = "astrodl-review:" + data.key;
const labels = new Map(data.labels), history = [], position = new Map(data.ids.map((id, i) => [id, i]));
const brief = data.brief.map((k) => data.columns[k]), rest = data.columns.filter((column) => !brief.includes(column));
let current = 0;

try {
  for (const [id, label] of JSON.parse(localStorage.getItem(place) || "[]")) {
    if (label === null) labels.delete(id);
    else if (data.classes.some((one) => one.name === label)) labels.set(id, label);
  }
} catch { warn(); }

function warn() { element("note").textContent = "This browser does not keep the labels: save the CSV before you close the page."; }

// Labels of the page itself that were taken back are kept as null, so that they do not return.
function keep() {
  const kept = [...labels, ...data.labels.filter(([id]) => !labels.has(id)).map(([id]) => [id, null])];
  try { localStorage.setItem(place, JSON.stringify(kept)); } catch { warn(); }
}

const colourOf = (id) => { const one = data.classes.find(({ name }) => name === labels.get(id)); return one ? one.colour : "transparent"; };

function show(i) {
  current = Math.min(Math.max(i, 0), data.ids.length - 1);
  const id = data.ids[current], text = make("div");
  stage.replaceChildren();
  if (data.sprites) {
    const image = tile(current, 4 * data.sprites.side);
    image.style.borderColor = colourOf(id);
    stage.append(image);
  }
  text.append(make("h1", id), make("p", `${current + 1} of ${data.ids.length}` + (data.why ? ` · ${data.why[current]}` : "")));
  text.append(table(current, brief), make("h2", "All columns"), table(current, rest));
  stage.append(text);
  film.childNodes.forEach((button, k) => button.setAttribute("aria-current", String(k === current)));
  film.childNodes[current].scrollIntoView({ block: "nearest" });
  for (const button of element("keys").querySelectorAll("button[data-label]")) {
    button.setAttribute("aria-pressed", String(button.dataset.label === labels.get(id)));
  }
}

function count() {
  const done = data.ids.filter((id) => labels.has(id)).length;
  element("progress").firstChild.style.width = (100 * done) / data.ids.length + "%";
  element("done").textContent = `${done} of ${data.ids.length} objects have a label` + (labels.size > done ? `, and ${labels.size - done} of earlier pages` : "");
  for (const one of data.classes) element("counts").rows[data.classes.indexOf(one)].cells[1].textContent = String([...labels.values()].filter((label) => label === one.name).length);
  element("csv").disabled = !labels.size;
  film.childNodes.forEach((button, k) => { button.style.borderColor = colourOf(data.ids[k]); });
}

function set(id, label) {
  if (label === undefined) labels.delete(id); else labels.set(id, label);
  keep();
  count();
}

function give(label) {
  const id = data.ids[current];
  history.push([id, labels.get(id)]);
  set(id, label);
  show(label === undefined ? current : current + 1);
}

function undo() {
  if (!history.length) return;
  const [id, before] = history.pop();
  set(id, before);
  show(position.get(id));
}

function press(event) {
  if (event.key === "u" || (event.key === "z" && (event.ctrlKey || event.metaKey))) undo();
  else if (event.ctrlKey || event.metaKey || event.altKey) return;
  else if (event.key === "ArrowRight" || event.key === "ArrowDown") show(current + 1);
  else if (event.key === "ArrowLeft" || event.key === "ArrowUp") show(current - 1);
  else if (event.key === "Backspace" || event.key === "Delete") give(undefined);
  else {
    const one = data.classes.find(({ key }) => key === event.key);
    if (!one) return;
    give(one.name);
  }
  event.preventDefault();
}

function build() {
  element("title").textContent = data.title;
  element("about").textContent = data.about;
  data.ids.forEach((id, i) => {
    const button = make("button", undefined, { title: id, onclick: () => { show(i); button.blur(); } });
    film.append(button);
  });
  for (const { name, key, colour } of data.classes) {
    const button = make("button", undefined, { onclick: () => { give(name); button.blur(); } });
    button.dataset.label = name;
    button.style.borderColor = colour;
    button.append(make("kbd", key), " " + name);
    element("keys").append(button);
    const row = element("counts").insertRow();
    row.append(make("td", name), make("td", "0"));
  }
  const back = make("button", "undo", { onclick: () => { undo(); back.blur(); } });
  back.prepend(make("kbd", "u"), " ");
  element("keys").append(back);
}

build();
addEventListener("keydown", press);
element("csv").onclick = () => save(data.file, csv([["object_id", "label"], ...labels]));
loadSheet(() => {
  film.childNodes.forEach((button, i) => button.append(tile(i, data.sprites ? data.sprites.side : 0)));
  count();
  const first = data.ids.findIndex((id) => !labels.has(id));
  show(Math.max(first, 0));
  document.body.dataset.ready = "yes";
});
