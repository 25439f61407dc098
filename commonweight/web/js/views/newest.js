// Published evidence of the newest reports at first, and of older ones when asked for: each report is read once.

import { h, say } from "../dom.js";
import { pending } from "./parts.js";

/** `load` reads what is wanted of an epoch's evidence, `epochs` names the epochs that have it, newest first; `step` are read at once. */
export class Newest {
  #app; #id; #load; #epochs; #step; #wanted; #read = new Map();

  constructor(app, { id, step, epochs, load }) {
    this.#app = app;
    this.#id = id;
    this.#load = load;
    this.#epochs = epochs;
    this.#step = this.#wanted = step;
  }

  /** Begin again, since something else is wanted of the evidence. */
  forget() {
    this.#wanted = this.#step;
    this.#read.clear();
  }

  /** What has been read, newest first: {epoch, found} or {epoch, missing}; and the epochs that are under way. Begins to read what is not. */
  look() {
    const asked = this.#epochs().slice(0, this.#wanted);
    for (const epoch of asked) this.#begin(epoch);
    const entries = asked.map((epoch) => this.#read.get(epoch));
    const over = ({ found, missing }) => found !== undefined || missing !== undefined;
    return { read: entries.filter(over), underWay: entries.filter((one) => !over(one)).map(({ epoch }) => epoch) };
  }

  /** A text that changes when `look` or `button` would give something else. */
  get key() {
    return `${this.#wanted} ${this.#epochs().length} ${[...this.#read.values()].map((one) => `${one.digest}${one.found !== undefined}${one.missing !== undefined}`)}`;
  }

  /** A line while some of the evidence is shown and the rest of it is being read, so that nobody takes the part for the whole. */
  progress() {
    const { read, underWay } = this.look();
    return read.length > 0 && underWay.length > 0 && pending(reading(underWay));
  }

  /** A button for the older ones; it stays in its place, with the focus on it, while it reads and when there is nothing more. */
  button() {
    const epochs = this.#epochs();
    const { read, underWay } = this.look();
    if (epochs.length <= this.#step) return this.progress();
    if (underWay.length > 0) {
      return read.length > 0 && h("button", { type: "button", id: this.#id, "aria-disabled": "true" }, reading(underWay));
    }
    const rest = epochs.slice(this.#wanted, this.#wanted + this.#step);
    if (rest.length === 0) return h("p", { id: this.#id, class: "note", tabindex: "-1" }, "These are the rounds of all reports.");
    const more = () => {
      this.#wanted += this.#step;
      say(`Reading the evidence of ${spread(rest)}.`);
      this.#app.redraw();
    };
    return h("button", { type: "button", id: this.#id, onclick: more }, `Read older reports: ${spread(rest)}`);
  }

  #begin(epoch) {
    const { digest } = this.#app.ledger.reports.get(epoch);
    if (this.#read.get(epoch)?.digest === digest) return;
    const one = { epoch, digest };
    this.#read.set(epoch, one);
    this.#load(epoch).then((found) => { one.found = found; }, (error) => { one.missing = error; }).then(() => {
      if (this.#read.get(epoch) === one) this.#app.redraw();
    });
  }
}

/** What is under way, in words. */
export const reading = (epochs) => `Reading the evidence of ${spread(epochs)}…`;

/** Epochs in words: "epochs 1, 4 to 6 and 9". */
export function spread(epochs) {
  const runs = [];
  for (const epoch of [...epochs].sort((a, b) => a - b)) {
    if (runs.at(-1)?.at(-1) === epoch - 1) runs.at(-1).push(epoch);
    else runs.push([epoch]);
  }
  const parts = runs.map((run) => (run.length === 1 ? `${run[0]}` : `${run[0]} to ${run.at(-1)}`));
  const last = parts.length > 1 ? ` and ${parts.pop()}` : "";
  return `epoch${epochs.length === 1 ? "" : "s"} ${parts.join(", ")}${last}`;
}
