// What several views show the same way.

import { copyable, h } from "../dom.js";
import { exact, percent, readable, tenths } from "../money.js";

/** An amount of the run's asset: short to read, exact in its title. */
export function money(run, value) {
  const { decimals, symbol } = run.asset;
  const text = `${exact(value, decimals)} ${symbol}`;
  return h("span", { class: "money", title: text }, `${readable(value, decimals)} ${symbol}`);
}

/** The same exactly, for what is about to be signed or is somebody's own. */
export const exactly = (run, value) => `${exact(value, run.asset.decimals)} ${run.asset.symbol}`;

/** A stacked bar with its legend. `pieces` are [kind, label, amount, note?]. */
export function breakdown(run, label, pieces, whole) {
  const shown = pieces.filter(([, , amount]) => amount > 0n);
  return [
    h("div", { class: "stack", role: "img", "aria-label": `${label}: ${shown.map(([, name, amount]) => `${name} ${percent(amount, whole)}`).join(", ")}` },
      shown.map(([kind, , amount]) => h("span", { class: kind, "data-tenths": tenths(amount, whole) }))),
    h("ul", { class: "legend" }, pieces.map(([kind, name, amount, note]) => h("li", {},
      h("span", { class: `swatch ${kind}`, "aria-hidden": "true" }),
      h("span", { class: "name" }, name, note && h("span", { class: "note" }, note)),
      h("span", { class: "amount" }, money(run, amount))))),
  ];
}

export const card = (id, title, ...children) =>
  h("section", { class: "card", id, "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, title), children);

export const pending = (text) => h("p", { class: "loading" }, text);

/** What could not be had, by name. */
export const unavailable = (what, error) => h("div", { class: "notice warn" }, h("strong", {}, `${what} cannot be shown.`), ` ${error.message}`);

export const address = (value, name = "address") => copyable(value, name);

/** Loads once per key and redraws; `get` gives the value, an Error, or undefined while it is under way. */
export class Loader {
  #key = null; #value;

  constructor(redraw) {
    this.redraw = redraw;
  }

  get(key, load) {
    if (key !== this.#key) {
      this.#key = key;
      this.#value = undefined;
      load().catch((error) => (error instanceof Error ? error : new Error(String(error)))).then((value) => {
        if (this.#key !== key) return;
        this.#value = value;
        this.redraw();
      });
    }
    return this.#value;
  }

  forget() {
    this.#key = null;
  }
}
