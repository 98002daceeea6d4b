"use strict";

// What each label says near the pointer. A plot's places are shares of its picture's width and height.
for (const plot of document.querySelectorAll(".plot")) {
  const places = JSON.parse(plot.querySelector("script").textContent);
  const picture = plot.querySelector("img");
  const shown = [];

  const clear = () => { for (const element of shown.splice(0)) element.remove(); };
  const add = (name) => {
    const element = document.createElement("div");
    element.className = name;
    shown.push(plot.appendChild(element));
    return element;
  };

  const show = (event) => {
    clear();
    if (!places.length) return;
    const box = picture.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    // Along the horizontal axis first, so that curves are read at one moment.
    const apart = (place) => Math.hypot(place.x * box.width - x, (place.y * box.height - y) / 8);
    const near = (place) => Math.hypot(place.x * box.width - x, place.y * box.height - y);
    const panel = places.reduce((a, b) => (near(b) < near(a) ? b : a)).panel;
    const nearest = new Map();
    for (const place of places.filter((one) => one.panel === panel)) {
      const other = nearest.get(place.label);
      if (!other || apart(place) < apart(other)) nearest.set(place.label, place);
    }
    const closest = [...nearest.values()].sort((a, b) => near(a) - near(b)).slice(0, 8);
    const tip = add("tip");
    for (const place of places.filter((one) => closest.includes(one))) {
      const mark = add("mark");
      mark.style.left = `${place.x * box.width}px`;
      mark.style.top = `${place.y * box.height}px`;
      mark.style.borderColor = place.colour;
      const line = document.createElement("div");
      const label = document.createElement("b");
      label.style.color = place.colour;
      label.textContent = place.label;
      line.append(label, ` ${place.text}`);
      tip.append(line);
    }
    const seen = plot.parentElement;  // on a narrow screen it shows a part of the plot
    const room = Math.min(plot.clientWidth, seen.scrollLeft + seen.clientWidth) - tip.offsetWidth;
    tip.style.left = `${Math.max(seen.scrollLeft, Math.min(x + 16, room))}px`;
    tip.style.top = `${y + 20}px`;
  };

  plot.addEventListener("pointermove", show);
  plot.addEventListener("pointerdown", show);
  plot.addEventListener("pointerleave", clear);
}

// Rows by a column: numbers by the first one in a cell, what has none last, words by the alphabet; again turns it round.
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
