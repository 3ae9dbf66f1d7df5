// The map: pan, zoom, hover, colour by a column, lasso, nearest neighbours.
const N_NEIGHBOURS = 12, N_IMAGES = 150, RANGE = [0.02, 0.98], NONE = "#59606e";
const GROUND = 0xff16110e; // #0e1116, in the order of the bytes of a canvas
const canvas = element("map"), context = canvas.getContext("2d", { alpha: false, willReadFrequently: true }), tip = element("tip");
const decode = (text) => new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
const position = decode(data.position), vectors = decode(data.vectors), n = data.ids.length, d = vectors.length / n;
const selected = new Uint8Array(n), visible = new Uint8Array(n).fill(1), colourOf = new Uint16Array(n);
let colours = [], pixels = null, column = null, view = { x: 0, y: 0, scale: 1 }, width = 0, height = 0, ratio = 1;
let hovered = -1, chosen = -1, neighbours = [], lasso = null, drag = null, isDirty = false;

const screenX = (i) => (position[2 * i] - view.x) * view.scale + width / 2;
const screenY = (i) => height / 2 - (position[2 * i + 1] - view.y) * view.scale;
const isInside = (x, y, margin) => x > -margin && y > -margin && x < width + margin && y < height + margin;

function redraw() {
  if (isDirty) return;
  isDirty = true;
  requestAnimationFrame(() => { isDirty = false; draw(); });
}

// Blend dots into the pixels of the canvas: several times faster than paths or copies of images where a processor draws.
function drawDots(shown, radius) {
  const reach = Math.ceil(radius * ratio), target = pixels.data, { width: w, height: h } = pixels, disk = [];
  for (let y = -reach; y <= reach; y++) {
    for (let x = -reach; x <= reach; x++) {
      const cover = Math.min(radius * ratio + 0.5 - Math.hypot(x, y), 1);
      if (cover > 0) disk.push([x, y, 0.88 * cover]);
    }
  }
  const rgb = colours.map((colour) => [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16))), isMarked = selected.includes(1);
  for (const i of shown) {
    const left = Math.round(screenX(i) * ratio), top = Math.round(screenY(i) * ratio);
    const [red, green, blue] = rgb[colourOf[i]], strength = isMarked && !selected[i] ? 0.22 : 1;
    for (let k = 0; k < disk.length; k++) {
      const x = left + disk[k][0], y = top + disk[k][1], alpha = strength * disk[k][2], at = 4 * (y * w + x);
      if (x < 0 || y < 0 || x >= w || y >= h) continue;
      target[at] += alpha * (red - target[at]);
      target[at + 1] += alpha * (green - target[at + 1]);
      target[at + 2] += alpha * (blue - target[at + 2]);
    }
  }
}

function draw() {
  if (!column) return;
  const home = Math.min(width, height) / data.extent, inside = [];
  const radius = Math.min(7, 2.6 * Math.sqrt(Math.max(1, view.scale / home)));
  for (let i = 0; i < n; i++) if (visible[i] && isInside(screenX(i), screenY(i), 30)) inside.push(i);
  const withImages = data.sprites && element("images").checked && inside.length <= N_IMAGES;
  const size = Math.min(Math.max(0.45 * Math.sqrt((width * height) / (inside.length + 1)), 48), 104); // images do not cover the map
  new Uint32Array(pixels.data.buffer).fill(GROUND);
  if (!withImages) drawDots(inside, radius);
  context.putImageData(pixels, 0, 0);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  for (const i of withImages ? inside : []) {
    const x = screenX(i) - size / 2, y = screenY(i) - size / 2;
    context.fillStyle = selected[i] ? "#fff" : colours[colourOf[i]];
    context.fillRect(x - 2, y - 2, size + 4, size + 4);
    drawTile(context, i, x, y, size);
  }
  const reach = withImages ? size / 2 + 4 : radius + 2.5;
  context.strokeStyle = "#ffffff55";
  for (const i of neighbours) line([[screenX(chosen), screenY(chosen)], [screenX(i), screenY(i)]]);
  for (const i of neighbours) ring(i, reach + 1, "#f0e442", 1.5);
  if (chosen >= 0) ring(chosen, reach + 3, "#fff", 2.5);
  if (hovered >= 0) ring(hovered, reach + 1, "#fff", 1.5);
  if (lasso) { context.strokeStyle = "#fff"; context.lineWidth = 1.5; line(lasso, "#ffffff18"); }
}

function ring(i, radius, colour, thick) {
  context.strokeStyle = colour;
  context.lineWidth = thick;
  context.beginPath();
  context.arc(screenX(i), screenY(i), radius, 0, 2 * Math.PI);
  context.stroke();
}

function line(points, fill) {
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  if (fill) { context.fillStyle = fill; context.closePath(); context.fill(); }
  context.stroke();
}

function colourBy(number) {
  column = data.columns[number];
  element("legend").replaceChildren();
  visible.fill(1);
  if (column.kind === "number") colourByNumber(); else colourByClass();
  redraw();
}

function colourByNumber() {
  const sorted = Float64Array.from(column.values.filter((value) => value !== null)).sort();
  const [low, high] = RANGE.map((share) => sorted[Math.round(share * (sorted.length - 1))]), steps = data.ramp.length;
  colours = [...data.ramp, NONE];
  column.values.forEach((value, i) => {
    const level = high > low ? Math.floor(((value - low) / (high - low)) * steps) : steps >> 1;
    colourOf[i] = value === null ? steps : Math.min(Math.max(level, 0), steps - 1);
  });
  const bar = make("canvas", undefined, { id: "bar", width: steps, height: 1 }), pen = bar.getContext("2d");
  data.ramp.forEach((colour, k) => { pen.fillStyle = colour; pen.fillRect(k, 0, 1, 1); });
  const ends = make("div", undefined, { className: "ends" }), unit = column.unit ? " " + column.unit : "";
  ends.append(make("span", sorted.length ? format(low) + unit : "no values"), make("span", sorted.length ? format(high) + unit : ""));
  element("legend").append(bar, ends);
  const missing = n - sorted.length;
  element("legend").append(make("p", column.about + " (2nd to 98th percentile" + (missing ? `; ${missing} without a value in grey` : "") + ")"));
}

function colourByClass() {
  const counts = column.names.map(() => 0), last = data.palette.length, isOther = column.names.length > last;
  column.values.forEach((code) => { if (code >= 0) counts[code] += 1; });
  colours = [...data.palette, "#b8bec8", NONE];
  column.values.forEach((code, i) => { colourOf[i] = code < 0 ? last + 1 : Math.min(code, last); });
  const entries = column.names.slice(0, last).map((name, k) => [name, k, counts[k]]);
  if (isOther) entries.push([`${column.names.length - last} others`, last, counts.slice(last).reduce((a, b) => a + b, 0)]);
  const missing = column.values.filter((code) => code < 0).length;
  if (missing) entries.push(["no value", last + 1, missing]);
  for (const [name, colour, count] of entries) {
    const entry = make("button", undefined, { className: "class", title: "show or hide" });
    const dot = make("i");
    dot.style.background = colours[colour];
    entry.append(dot, make("span", name), make("b", String(count)));
    entry.setAttribute("aria-pressed", "true");
    entry.onclick = () => {
      const isOn = entry.getAttribute("aria-pressed") !== "true";
      entry.setAttribute("aria-pressed", String(isOn));
      for (let i = 0; i < n; i++) if (colourOf[i] === colour) visible[i] = Number(isOn);
      redraw();
    };
    element("legend").append(entry);
  }
  element("legend").append(make("p", column.about));
}

// Return the object nearest to a place on the screen, or -1; the last one drawn lies on top.
function at(x, y) {
  let best = -1, least = 16 ** 2;
  for (let i = 0; i < n; i++) {
    if (!visible[i]) continue;
    const distance = (screenX(i) - x) ** 2 + (screenY(i) - y) ** 2;
    if (distance <= least) { best = i; least = distance; }
  }
  return best;
}

function hover(i, x, y) {
  if (i !== hovered) {
    hovered = i;
    tip.replaceChildren();
    if (i >= 0) {
      if (data.sprites) tip.append(tile(i, 216));
      const listed = [column, ...data.brief.map((k) => data.columns[k])];
      tip.append(make("div", data.ids[i], { className: "id" }), table(i, [...new Set(listed)]));
    }
    tip.hidden = i < 0;
    redraw();
  }
  if (i < 0) return;
  tip.style.left = (x + 20 + tip.offsetWidth > width ? Math.max(0, x - 20 - tip.offsetWidth) : x + 20) + "px";
  tip.style.top = Math.max(8, Math.min(y - 40, height - tip.offsetHeight - 8)) + "px";
}

function nearest(i) {
  const distance = new Float64Array(n);
  for (let k = 0; k < n; k++) for (let c = 0; c < d; c++) distance[k] += (vectors[k * d + c] - vectors[i * d + c]) ** 2;
  return Array.from({ length: n }, (_, k) => k).filter((k) => k !== i).sort((a, b) => distance[a] - distance[b]).slice(0, N_NEIGHBOURS);
}

function choose(i, isCentred) {
  chosen = i;
  neighbours = i < 0 ? [] : nearest(i);
  element("neighbours").replaceChildren();
  element("details").replaceChildren();
  element("chosen").hidden = i < 0;
  if (i >= 0) {
    element("details").append(make("div", data.ids[i], { className: "id" }), table(i, data.columns));
    for (const k of [i, ...neighbours].slice(0, N_NEIGHBOURS)) {
      const button = make("button", undefined, { title: data.ids[k] });
      button.dataset.id = data.ids[k];
      button.append(tile(k, 96));
      button.setAttribute("aria-current", String(k === i));
      button.onclick = () => choose(k, true);
      element("neighbours").append(button);
    }
    if (isCentred && !isInside(screenX(i), screenY(i), -20)) [view.x, view.y] = [position[2 * i], position[2 * i + 1]];
  }
  redraw();
}

function selectInside(polygon) {
  for (let i = 0; i < n; i++) {
    const x = screenX(i), y = screenY(i);
    let inside = false;
    for (let k = 0, j = polygon.length - 1; k < polygon.length; j = k++) {
      const [ax, ay] = polygon[k], [bx, by] = polygon[j];
      if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
    }
    selected[i] = Number(inside && visible[i]);
  }
  listSelected();
}

const selectedIds = () => data.ids.filter((_, i) => selected[i]);
function listSelected() {
  const ids = selectedIds();
  element("count").textContent = ids.length ? `${ids.length} objects selected` : "nothing selected: draw a lasso around objects";
  element("ids").value = ids.join("\n");
  for (const id of ["copy", "csv", "clear"]) element(id).disabled = !ids.length;
  redraw();
}

function setLasso(isOn) {
  element("lasso").setAttribute("aria-pressed", String(isOn));
  canvas.classList.toggle("lasso", isOn);
}

function zoom(factor, x, y) {
  const home = Math.min(width, height) / data.extent, scale = Math.min(Math.max(view.scale * factor, home / 4), home * 2000);
  view.x += (x - width / 2) * (1 / view.scale - 1 / scale);
  view.y -= (y - height / 2) * (1 / view.scale - 1 / scale);
  view.scale = scale;
  redraw();
}

function reset() {
  view = { x: data.centre[0], y: data.centre[1], scale: Math.min(width, height) / data.extent };
  redraw();
}

function resize() {
  const home = Math.min(width, height);
  ratio = window.devicePixelRatio || 1;
  [width, height] = [canvas.clientWidth, canvas.clientHeight];
  Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
  pixels = context.createImageData(canvas.width, canvas.height);
  if (home) view.scale *= Math.min(width, height) / home;
  redraw();
}

const place = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  const [x, y] = place(event);
  drag = { x, y, moved: 0 };
  if (event.shiftKey || element("lasso").getAttribute("aria-pressed") === "true") lasso = [[x, y]];
});
canvas.addEventListener("pointermove", (event) => {
  const [x, y] = place(event);
  if (!drag) { hover(at(x, y), x, y); return; }
  drag.moved += Math.abs(x - drag.x) + Math.abs(y - drag.y);
  if (lasso) lasso.push([x, y]);
  else { view.x -= (x - drag.x) / view.scale; view.y += (y - drag.y) / view.scale; }
  [drag.x, drag.y] = [x, y];
  if (drag.moved > 4) hover(-1);
  redraw();
});
canvas.addEventListener("pointerup", () => {
  if (drag && drag.moved <= 4) choose(at(drag.x, drag.y));
  else if (lasso) { selectInside(lasso); setLasso(false); }
  drag = lasso = null;
  redraw();
});
canvas.addEventListener("pointerleave", () => hover(-1));
canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(-event.deltaY / 400), ...place(event)); }, { passive: false });
addEventListener("resize", resize);
addEventListener("keydown", (event) => {
  if (event.target.matches("input, select, textarea")) return;
  if (event.key === "Escape") { setLasso(false); choose(-1); selected.fill(0); listSelected(); }
  else if (event.key === "+" || event.key === "-") zoom(event.key === "+" ? 1.4 : 1 / 1.4, width / 2, height / 2);
  else if (event.key === "0") reset();
});
element("lasso").onclick = () => setLasso(element("lasso").getAttribute("aria-pressed") !== "true");
element("reset").onclick = reset;
element("images").onchange = redraw;
element("clear").onclick = () => { selected.fill(0); listSelected(); };
element("copy").onclick = () => { element("ids").select(); document.execCommand("copy"); };
element("csv").onclick = () => save("selection.csv", csv([["object_id"], ...selectedIds().map((id) => [id])]));
element("colour").onchange = (event) => colourBy(Number(event.target.value));
element("find").onchange = (event) => { const i = data.ids.indexOf(event.target.value.trim()); choose(i, true); event.target.setCustomValidity(i < 0 ? "no such object" : ""); event.target.reportValidity(); };

element("title").textContent = data.title;
element("about").textContent = data.about;
data.columns.forEach((one, k) => { if (one.kind !== "text") element("colour").append(make("option", one.name, { value: k })); });
element("colour").value = data.colour;
resize();
reset();
listSelected();
loadSheet(() => { colourBy(data.colour); document.body.dataset.ready = "yes"; });
