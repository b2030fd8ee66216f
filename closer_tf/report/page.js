"use strict";

// Tables: a button in each header sorts by its column, numbers as numbers, what is empty last.
const said = document.getElementById("said");
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const header = button.closest("th");
    const table = header.closest("table");
    const column = header.cellIndex;
    const up = header.getAttribute("aria-sort") !== "ascending";
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent.trim();
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [value(row), row]);
    const empty = (v) => v === "" || v === "–";
    rows.sort(([a], [b]) => {
      if (empty(a) || empty(b)) return empty(a) - empty(b);
      const [x, y] = [Number(a), Number(b)];
      const order = Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
      return up ? order : -order;
    });
    body.append(...rows.map(([, row]) => row));
    said.textContent = `sorted by ${button.textContent}, ${up ? "ascending" : "descending"}`;
  });
}

// Pictures: what the mark nearest to the pointer stands for. A mark's points are those of its path.
const tip = document.getElementById("tip");
const names = JSON.parse(document.getElementById("names").textContent);
const known = new WeakMap();

function pointsOf(mark) {
  if (known.has(mark)) return known.get(mark);
  const d = mark.getAttribute("d");
  const found = [...d.matchAll(/(?:M|^|\s)(-?[\d.]+)\s(-?[\d.]+)/g)].map((pair) => [Number(pair[1]), Number(pair[2])]);
  const points = mark.dataset.v === undefined ? found : found.slice(0, 1);
  known.set(mark, points);
  return points;
}

function back(svg, axis, pixel) {
  if (!svg.dataset[axis]) return null;
  const [start, end, low, high] = svg.dataset[axis].split(" ").map(Number);
  return low + ((pixel - start) / (end - start)) * (high - low);
}

function describe(svg, mark, index, [x, y]) {
  let name = mark.dataset.name ?? "";
  if (mark.dataset.names) {
    const encoders = names[mark.dataset.encoders];
    name = `${names[mark.dataset.names][Math.floor(index / encoders.length)]}, ${encoders[index % encoders.length]}`;
  }
  if (mark.dataset.v !== undefined) return `${name}: ${Number(mark.dataset.v).toFixed(3)}`;
  const [across, upwards] = [back(svg, "x", x), back(svg, "y", y)];
  if (across === null) return name;
  if (upwards === null) return `${name}: ${across.toFixed(3)}`;
  return `${name}, epoch ${Math.round(across)}: ${Number(upwards.toPrecision(4))}`;
}

for (const svg of document.querySelectorAll("svg")) {
  const marks = [...svg.querySelectorAll(".hover")];
  if (!marks.length) continue;
  svg.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    let best = null;
    let nearest = 14;
    for (const mark of marks) {
      pointsOf(mark).forEach(([x, y], index) => {
        const distance = Math.hypot(x - at.x, y - at.y);
        if (distance < nearest) {
          nearest = distance;
          best = [mark, index, [x, y]];
        }
      });
    }
    tip.hidden = best === null;
    if (best === null) return;
    tip.textContent = describe(svg, ...best);
    const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${event.clientY + 16}px`;
  });
  svg.addEventListener("pointerleave", () => { tip.hidden = true; });
}
