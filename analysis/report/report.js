"use strict";

// Tables with more columns than the screen shows say so.
const mark = () => {
  for (const wide of document.querySelectorAll(".wide")) {
    wide.toggleAttribute("data-more", wide.scrollWidth > wide.clientWidth + 1);
  }
};
addEventListener("resize", mark);
for (const details of document.querySelectorAll("details")) details.addEventListener("toggle", mark);
mark();

// Sorts by a column: numbers by the first one in a cell, cells without one last, words by the alphabet; again reverses.
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const value = (row) => {
      const text = row.cells[column].textContent.trim();
      if (head.classList.contains("words")) return text.toLowerCase();
      const number = parseFloat(text.replaceAll(",", ""));
      return Number.isNaN(number) ? null : number;
    };
    head.querySelector("button").addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const compare = (a, b) => {
        const first = value(a), second = value(b);
        if (first === null || second === null) return (first === null) - (second === null);
        const order = typeof first === "string" ? first.localeCompare(second) : first - second;
        return descending ? -order : order;
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
    });
  });
}

document.documentElement.dataset.ready = "yes";
