// A provider's rounds with the reasons, from the published evidence: of the newest reports at first, of older ones when asked for.

import { h, say, table } from "../dom.js";
import { group } from "../money.js";
import { pending, unavailable } from "./parts.js";

const READ = 10;  // reports that are read at once
const WORDS = {  // what records and the credit rule say of work that is not credited
  "no-commitment": "no signer had its commitment when the round's deadline came",
  "not-anchored": "its commitment came, and is not in what was anchored on chain",
  late: "its commitment came after the deadline",
  "payload-missing": "no signer could get its payload when the round was closed",
  "copied-payload": "its payload is another member's",
  "two-commitments": "it signed two commitments for one round",
  "wrong-first-state": "its first state does not follow from what it trained before",
  "below-minimum": "the round had fewer members than the run asks for, and was done again",
  "structure not passed": "the signers found its documents or payload malformed",
  "replay not passed": "the drawn steps were done again and gave something else, or their states were not delivered",
  "replay failed": "a replay failed, and with it all credits of this epoch",
  "contribution not passed": "its payload did not lower the loss on its own data more than on other data",
  offence: "an offence was proved; no credits in this epoch",
};

/** What is read of one provider's rounds. `key` changes when what `draw` shows would. */
export class Rounds {
  #app; #index = null; #wanted = READ; #read = new Map();

  constructor(app) {
    this.#app = app;
  }

  /** Turn to a provider. */
  of(index) {
    if (index !== this.#index) {
      this.#index = index;
      this.#wanted = READ;
      this.#read.clear();
    }
    for (const epoch of this.#epochs().slice(0, this.#wanted)) this.#load(epoch);
    return this;
  }

  get key() {
    return [this.#index, this.#wanted, this.#epochs().length, [...this.#read.values()].map(({ digest, found }) => [digest, found !== null])];
  }

  draw() {
    const epochs = this.#epochs();
    if (epochs.length === 0) return [h("p", { class: "empty" }, "Known with the first report.")];
    const asked = epochs.slice(0, this.#wanted);
    const read = asked.map((epoch) => this.#read.get(epoch)).filter(({ found }) => found !== null);
    const underWay = asked.filter((epoch) => this.#read.get(epoch).found === null);
    const missing = read.filter(({ found }) => found.missing);
    const rows = read.flatMap(({ epoch, found }) => (found.lines ?? []).map((line) => ({ epoch, line })))
      .sort((a, b) => b.line.round - a.line.round).map(({ epoch, line }) => row(epoch, line));
    return [
      missing.length > 0 && unavailable(`The itemised credits of ${spread(missing.map(({ epoch }) => epoch))}`, missing[0].found.missing),
      read.length > 0 && table("Rounds and reasons", ["Round", "Epoch", "Tokens", "Credits", "Link (bandwidth / latency)", "Reason", "Checks"], rows,
        missing.length ? "No other epoch is published." : underWay.length ? "" : "The published evidence names this provider in no round."),
      underWay.length > 0 && read.length === 0 && pending(`Reading the evidence of ${spread(underWay)}…`),
      this.#button(epochs, read, underWay),
    ];
  }

  /** It stays where it is, with the focus on it, while it reads and when there is nothing more. */
  #button(epochs, read, underWay) {
    const rest = epochs.slice(this.#wanted, this.#wanted + READ);
    if (epochs.length <= READ) return null;
    if (underWay.length > 0) {
      return read.length > 0 && h("button", { type: "button", id: "older-rounds", "aria-disabled": "true" }, `Reading the evidence of ${spread(underWay)}…`);
    }
    if (rest.length === 0) return h("p", { id: "older-rounds", class: "note", tabindex: "-1" }, "These are the rounds of all reports.");
    const more = () => {
      this.#wanted += READ;
      say(`Reading the evidence of ${spread(rest)}.`);
      this.#app.redraw();
    };
    return h("button", { type: "button", id: "older-rounds", onclick: more }, `Read older reports: ${spread(rest)}`);
  }

  /** Epochs with a report, newest first. */
  #epochs() {
    return [...this.#app.ledger.reports.keys()].sort((a, b) => b - a);
  }

  #load(epoch) {
    const { digest } = this.#app.ledger.reports.get(epoch);
    if (this.#read.get(epoch)?.digest === digest) return;
    const one = { epoch, digest, found: null };
    const index = this.#index;
    this.#read.set(epoch, one);
    this.#app.evidence(epoch).credits()
      .then(({ lines }) => ({ lines: lines.filter((line) => line.index === index) }), (error) => ({ missing: error }))
      .then((found) => {
        one.found = found;
        if (this.#read.get(epoch) === one) this.#app.redraw();
      });
  }
}

const row = (epoch, line) => [
  `${line.round}`, `${epoch}`, group(BigInt(line.tokens)), group(BigInt(line.credits)), `${line.bandwidth} / ${line.latency}`,
  line.refused === "" ? "counted" : [h("span", { class: "refusal" }, line.refused), inWords(line.refused)],
  line.checks.length === 0 ? "not drawn" : line.checks.map((check) => `${check.check}: ${check.outcome}`).join(", "),
];

function inWords(reason) {
  const [, words] = Object.entries(WORDS).find(([code]) => reason.includes(code)) ?? [];
  return words && h("span", { class: "note" }, words);
}

/** Epochs in words. */
function spread(epochs) {
  const [low, high] = [Math.min(...epochs), Math.max(...epochs)];
  return low === high ? `epoch ${low}` : `epochs ${low} to ${high}`;
}
