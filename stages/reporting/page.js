"use strict";
const list = document.getElementById("tasks"), items = [...list.children];
const search = document.getElementById("search"), count = document.getElementById("count");
const texts = new Map();

function textOf(item) { // in small letters; made once, when somebody searches
  if (!texts.has(item)) texts.set(item, item.textContent.toLowerCase());
  return texts.get(item);
}

search.addEventListener("input", () => {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const item of items) {
    item.hidden = !words.every((word) => textOf(item).includes(word));
    shown += !item.hidden;
  }
  count.textContent = `${shown} of ${items.length} tasks`;
});

function keyOf(item, column) { // 0: the order of the lines; a name; else a row's mean, unscored ones last
  const value = item.querySelector("summary").children[column].dataset.value;
  return value === undefined ? item.querySelector("summary").children[column].textContent.trim() : Number(value || -1);
}

for (const button of document.querySelectorAll("button[data-column]")) {
  button.addEventListener("click", () => {
    const column = Number(button.dataset.column), down = button.getAttribute("aria-pressed") !== "true";
    for (const other of document.querySelectorAll("button[data-column]")) other.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-pressed", String(down));
    const order = column === 0 ? (a, b) => keyOf(a, 0).localeCompare(keyOf(b, 0)) : (a, b) => keyOf(b, column) - keyOf(a, column);
    list.append(...[...items].sort((a, b) => (down ? 1 : -1) * order(a, b)));
  });
}
