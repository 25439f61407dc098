// Elements without innerHTML: text from chain, store and wallets is only ever text, and marks in it that nobody sees are shown.

const SVG = "http://www.w3.org/2000/svg";
const UNSEEN = /[^\P{C}\n\t\p{Cn}\p{Co}\p{Cs}\u200c\u200d]|[\u2028\u2029]/gu;  // the two that are spared join letters or part them

/** Text with control characters, and marks that turn text around or take no place, as escapes: names on chain can hold any. */
export const visible = (text) => text.replace(UNSEEN, (mark) => `\\u${mark.codePointAt(0).toString(16).padStart(4, "0")}`);

const piece = (child) => (typeof child === "string" ? visible(child) : child);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : visible(String(value)));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false).map(piece));
  return element;
}

export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const find = (id) => document.getElementById(id);

const keys = new WeakMap();

const labelOf = (element) => element.getAttribute("aria-label") ?? element.textContent;
const scrolled = (element) => [...element.querySelectorAll(".scroll")].filter((one) => one.scrollLeft > 0);

/** Rebuild `element`'s children when `key` has changed; the focus stays on the element with the same id, label or text, and tables where they were scrolled to. */
export function region(element, key, build) {
  const text = JSON.stringify(key, (_, value) => (typeof value === "bigint" ? `${value}n` : value));
  if (keys.get(element) === text) return;
  keys.set(element, text);
  const active = element.contains(document.activeElement) ? document.activeElement : null;
  const again = active && (active.id ? `#${CSS.escape(active.id)}` : active.tagName);
  const label = active?.id ? null : active && labelOf(active);
  const places = new Map(scrolled(element).map((one) => [labelOf(one), one.scrollLeft]));
  const open = new Set([...element.querySelectorAll("details[open][id]")].map((d) => d.id));
  element.replaceChildren(...[build()].flat(Infinity).filter(Boolean));
  for (const id of open) element.querySelector(`#${CSS.escape(id)}`)?.setAttribute("open", "");
  for (const one of element.querySelectorAll(".scroll")) one.scrollLeft = places.get(labelOf(one)) ?? 0;
  if (again) [...element.querySelectorAll(again)].find((one) => label === null || labelOf(one) === label)?.focus({ preventScroll: true });
}

export const definitions = (rows, kind = "facts") =>
  h("dl", { class: kind }, rows.filter(Boolean).map(([name, value, note]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, value, note && h("span", { class: "note" }, note)))));

/** A table that scrolls by itself on a narrow screen and can be reached by the keyboard to do so. */
export const table = (caption, heads, rows, empty) =>
  rows.length === 0
    ? h("p", { class: "empty" }, empty)
    : h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${caption}, table` },
        h("table", {},
          h("caption", { class: "unseen" }, caption),
          h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
          h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell, place) =>
            place === 0 ? h("th", { scope: "row" }, cell) : h("td", {}, cell)))))));

export const shorten = (hex) => (hex.length > 20 ? `${hex.slice(0, 8)}…${hex.slice(-6)}` : hex);

/** A long hex value or CID: short to the eye (unless `whole`), whole to the clipboard; where the browser refuses that, whole and selected. */
export function copyable(value, name, whole = false) {
  const code = h("code", {}, whole ? value : shorten(value));
  const button = h("button", {
    type: "button", class: "copy", title: value,
    onclick: async () => {
      try {
        await navigator.clipboard.writeText(value);
      } catch {  // it is not there at all on a page that came over plain http
        code.textContent = visible(value);
        getSelection().selectAllChildren(code);
        button.classList.add("by-hand");
        return say("This browser does not let the page copy. It is shown whole and selected: copy it by hand.");
      }
      say(`Copied ${name}.`);
      button.classList.add("done");
      setTimeout(() => button.classList.remove("done"), 1200);
    },
  }, code, h("span", { class: "unseen" }, `, copy ${name}`));
  return button;
}

let spoken = null;

/** What a screen reader says aloud. While a dialog is open, what lies behind it is not read. */
export function say(text) {
  spoken ??= find("spoken");
  const place = document.querySelector("dialog[open]") ?? document.body;
  if (spoken.parentNode !== place) place.append(spoken);
  spoken.textContent = "";
  requestAnimationFrame(() => { spoken.textContent = visible(text); });
}

/** What the browser keeps for this page, in `localStorage` or `sessionStorage`; null where a setting or a full disk forbids it. */
export function recall(store, name) {
  try { return globalThis[store].getItem(name); } catch { return null; }
}

/** Whether the browser keeps it; null for a value takes it out. */
export function keep(store, name, value) {
  try {
    if (value === null) globalThis[store].removeItem(name);
    else globalThis[store].setItem(name, value);
    return true;
  } catch { return false; }
}

/** Empty places by name, for `columns` to lay out and `region` to fill. */
export const slots = (...names) => Object.fromEntries(names.map((name) => [name, h("div", { class: "slot" })]));

export const columns = (left, right) => h("div", { class: "columns" }, h("div", { class: "column" }, left), h("div", { class: "column" }, right));

const shown = new Map();  // how many of a long list, by its button's id: it may be drawn again

/** A long list in pieces: each item drawn by `draw` into `list`, and a button for as many more. */
export function piecemeal(id, list, items, size, draw) {
  const button = h("button", { type: "button", id, class: "quiet small", onclick: () => add(size) });
  let place = 0;
  const add = (count) => {
    const next = items.slice(place, place + count);
    list.append(...next.map(draw));
    place += next.length;
    shown.set(id, place);
    const rest = items.length - place;
    button.textContent = `Show ${Math.min(size, rest)} more of ${rest}`;
    if (rest > 0 || !button.parentNode) return;
    const end = h("p", { id, class: "note", tabindex: "-1" }, "That is all.");
    button.replaceWith(end);  // the focus stays
    end.focus();
  };
  add(Math.max(size, shown.get(id) ?? 0));
  return place < items.length ? [list, button] : [list];
}

/** Details that are drawn once they are opened. */
export function later(id, summary, draw) {
  const body = h("div", {});
  const load = () => { if (body.childNodes.length === 0) body.append(...[draw()].flat(Infinity)); };
  return h("details", { id, ontoggle: load }, h("summary", {}, summary), body);
}

export const badge = (kind, text) => h("span", { class: `badge ${kind}` }, text);

/** Widths go through the CSSOM: the content security policy allows no style attributes. */
export function applyWidths(root) {
  for (const piece of root.querySelectorAll("[data-tenths]")) piece.style.width = `${Math.min(Number(piece.dataset.tenths), 1000) / 10}%`;
  for (const mark of root.querySelectorAll("[data-at]")) mark.style.left = `${Math.min(Number(mark.dataset.at), 1000) / 10}%`;
}
