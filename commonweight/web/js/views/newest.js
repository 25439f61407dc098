// Published evidence of the newest reports at first, and of older ones when asked for: each report is read once.

import { h, say } from "../dom.js";
import { pending } from "./parts.js";

/**
 * `load` reads what is wanted of an epoch's evidence, `epochs` names the epochs that have it, newest first; `step` are read at once. With
 * `room`, that makes what may be read until more is asked for, they are read one after the other: `load` gets it, too, and says by `left` how
 * many rounds had no place in it.
 */
export class Newest {
  #app; #id; #load; #epochs; #step; #wanted; #makeRoom; #room; #asked = false; #read = new Map();

  constructor(app, { id, step, epochs, load, room = null }) {
    this.#app = app;
    this.#id = id;
    this.#load = load;
    this.#epochs = epochs;
    this.#step = this.#wanted = step;
    this.#makeRoom = room;
  }

  /** Begin again, since something else is wanted of the evidence. */
  forget() {
    this.#wanted = this.#step;
    this.#asked = false;
    this.#read.clear();
  }

  /** What has been read, newest first: {epoch, found} or {epoch, missing}; and the epochs that are under way. Begins to read what is not. */
  look() {
    const asked = this.#epochs().slice(0, this.#wanted);
    this.#beginAll(asked);
    const entries = asked.map((epoch) => this.#read.get(epoch)).filter(Boolean);
    const partial = entries.findIndex(({ found }) => found?.left > 0);
    if (partial >= 0) entries.length = partial + 1;  // no gap between rounds that are shown
    const over = ({ found, missing }) => found !== undefined || missing !== undefined;
    const underWay = entries.filter(({ busy }) => busy).map(({ epoch }) => epoch);
    const waiting = underWay.length > 0 ? asked.filter((epoch) => !this.#read.has(epoch)) : [];
    return { read: entries.filter(over), underWay: [...underWay, ...waiting] };
  }

  #beginAll(asked) {
    for (const epoch of asked) {
      this.#begin(epoch, asked[0]);
      const { busy, found } = this.#read.get(epoch);
      if (this.#makeRoom && (busy || found?.left > 0)) break;  // older ones wait for it
    }
  }

  /** The newest epoch of which rounds are left to be read; undefined where it is all read. */
  get #partial() {
    return this.#epochs().map((epoch) => this.#read.get(epoch)).find((one) => one?.found?.left > 0);
  }

  /** A text that changes when `look` or `button` would give something else. */
  get key() {
    const told = ({ digest, found, missing, busy }) => `${digest}${found !== undefined}${missing !== undefined}${busy}${found?.left ?? ""}`;
    return `${this.#wanted} ${this.#epochs().length} ${[...this.#read.values()].map(told)}`;
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
    const partial = this.#partial;
    if (epochs.length <= this.#step && !partial && !this.#asked) return this.progress();
    if (underWay.length > 0) {
      return read.length > 0 && h("button", { type: "button", id: this.#id, "aria-disabled": "true" }, reading(underWay));
    }
    const rest = epochs.slice(this.#wanted, this.#wanted + this.#step);
    if (rest.length === 0 && !partial) return h("p", { id: this.#id, class: "note", tabindex: "-1" }, "These are the rounds of all reports.");
    const what = partial ? `${partial.found.left} older rounds of epoch ${partial.epoch}` : `older reports: ${spread(rest)}`;
    const more = () => {
      this.#asked = true;
      this.#room = this.#makeRoom?.();
      if (!partial) this.#wanted += this.#step;
      say(`Reading ${partial ? what : `the evidence of ${spread(rest)}`}.`);
      this.#app.redraw();
    };
    return h("button", { type: "button", id: this.#id, onclick: more }, `Read ${what}`);
  }

  #begin(epoch, newest) {
    const { digest } = this.#app.ledger.reports.get(epoch);
    let one = this.#read.get(epoch);
    if (one?.digest !== digest) {
      if (epoch === newest) this.#room = this.#makeRoom?.();  // it is always read
      one = { epoch, digest, busy: false, found: undefined, missing: undefined };
    } else if (one.busy || one.missing !== undefined || (one.found !== undefined && !(one.found.left > 0 && hasRoom(this.#room)))) return;
    one.busy = true;
    this.#read.set(epoch, one);
    this.#load(epoch, this.#room).then((found) => { one.found = found; }, (error) => { one.missing = error; }).then(() => {
      one.busy = false;
      if (this.#read.get(epoch) === one) this.#app.redraw();
    });
  }
}

const hasRoom = (room) => room && Object.values(room).every((left) => left > 0);

/** What is under way, in words. */
export const reading = (epochs) => `Reading the evidence of ${spread(epochs)}…`;

/** [first, last] of each run of numbers that follow one another. */
export function runs(numbers) {
  const found = [];
  for (const number of [...numbers].sort((a, b) => a - b)) {
    if (found.at(-1)?.[1] === number - 1) found.at(-1)[1] = number;
    else found.push([number, number]);
  }
  return found;
}

/** Epochs in words: "epochs 1, 4 to 6 and 9". */
export function spread(epochs) {
  const parts = runs(epochs).map(([first, last]) => (first === last ? `${first}` : `${first} to ${last}`));
  const last = parts.length > 1 ? ` and ${parts.pop()}` : "";
  return `epoch${epochs.length === 1 ? "" : "s"} ${parts.join(", ")}${last}`;
}
