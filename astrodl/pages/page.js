// What all pages share: the data, the sprite sheet, tables of numbers, files to save. Text is set as text, never as markup.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const sheet = new Image();

// Call `then` when the sprite sheet can be drawn; at once where there are no images.
function loadSheet(then) {
  if (!data.sprites) { then(); return; }
  sheet.onload = then;
  sheet.src = data.sprites.uri;
}

function make(tag, text, properties) {
  const made = Object.assign(document.createElement(tag), properties);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Draw the image of object `i` into a square of a canvas.
function drawTile(context, i, x, y, size) {
  const { side, columns } = data.sprites;
  context.drawImage(sheet, (i % columns) * side, Math.floor(i / columns) * side, side, side, x, y, size, size);
}

// Return a canvas with the image of object `i`, or its identifier where there are no images.
function tile(i, pixels) {
  if (!data.sprites) return make("span", data.ids[i]);
  const canvas = make("canvas", undefined, { width: pixels, height: pixels });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  drawTile(context, i, 0, 0, pixels);
  return canvas;
}

function format(value) {
  if (value === null) return "–";
  if (Number.isInteger(value)) return String(value);
  return Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(5)));
}

function shown(column, i) {
  const value = column.values[i];
  if (column.kind === "number") return format(value) + (column.unit && value !== null ? " " + column.unit : "");
  return value < 0 ? "–" : column.names[value];
}

// Return a table of the values of object `i`.
function table(i, columns) {
  const made = make("table");
  for (const column of columns) {
    const row = made.insertRow();
    row.title = column.about;
    row.append(make("td", column.name), make("td", shown(column, i)));
  }
  return made;
}

const csvField = (text) => (/[",\r\n]|^\s|\s$/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text);
const csv = (rows) => rows.map((row) => row.map(csvField).join(",") + "\r\n").join("");

function save(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  make("a", undefined, { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
