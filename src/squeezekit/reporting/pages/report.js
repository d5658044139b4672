"use strict";
const language = document.documentElement.lang;
for (const table of document.querySelectorAll("table.explored")) {
  const body = table.tBodies[0];
  for (const button of table.querySelectorAll("thead button")) {
    button.addEventListener("click", () => sort(table, body, button.parentElement));
  }
  const input = document.querySelector(`input[data-for="${table.id}"]`);
  const count = document.querySelector(`[data-count="${table.id}"] span`);
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLocaleLowerCase(language).split(/\s+/);
    let shown = 0;
    for (const row of body.rows) {
      const cells = [...row.cells].map(cell => cell.textContent.toLocaleLowerCase(language));
      row.hidden = !wanted.every(word => cells.some(cell => cell.includes(word)));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = shown;
  });
}
function sort(table, body, heading) {
  const rising = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const key = row => {
    const cell = row.cells[heading.cellIndex];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };
  // Cells without a number stay at the end, whichever way the others are sorted.
  const empty = row => key(row) === "–";
  const compare = (a, b) => {
    if (empty(a) || empty(b)) return empty(a) - empty(b);
    const [x, y] = [key(a), key(b)];
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), language, { numeric: true });
    return rising ? order : -order;
  };
  body.append(...[...body.rows].sort(compare));
}
