// A provider's rounds with the reasons, from the published evidence: of the newest reports at first, of older ones when asked for.

import { h, table } from "../dom.js";
import { group } from "../money.js";
import { Newest, reading, spread } from "./newest.js";
import { pending, unavailable } from "./parts.js";

const READ = 10;  // reports that are read at once
const WORDS = {  // what records and the credit rule say of work that is not credited
  "no-commitment": "no signer had its commitment when the round's deadline came",
  "not-anchored": "its commitment came, and is not in what was anchored on chain",
  late: "its commitment came after the deadline",
  "payload-missing": "no signer could get its payload when the round was closed",
  "two-commitments": "it signed two commitments for one round",
  equivocation: "it signed two different documents where one may be",
  "payload-mismatch": "its payload is not what it committed to",
  "invalid-commitment": "its commitment breaks a rule that anybody can check",
  "wrong-target": "what it signed was for another run, round, base or model",
  "wrong-reduction": "it signed a result that does not follow from the payloads",
  "wrong-first-state": "its first state does not follow from what it trained before",
  "below-minimum": "the round had fewer members than the run asks for, and was done again",
  "structure not passed": "its payload is like another's, and its own steps, done again, did not lead to it",
  "replay not passed": "the drawn steps were done again and gave something else, or their states were not delivered",
  "replay failed": "a replay failed, and with it all credits of this epoch",
  "contribution not passed": "its payload did less than honest steps do for its own data, or harm to held-out data",
  offence: "an offence was proved; no credits in this epoch",
};

const MOVED = [  // what credits.json says beside the lines, of each provider
  ["carried_in", "of earlier epochs came with this report"],
  ["carried", "found no place in this report and go on to the next"],
  ["over_stake", "of these wait because they are worth more than the stake covers"],
];

/** Of an epoch's credits.json, in words: what of a provider's credits came from earlier epochs, or goes on to later ones. */
export const movedOf = (sums, index) => MOVED.filter(([key]) => sums[key]?.[index] !== undefined)
  .map(([key, words]) => `${group(BigInt(sums[key][index]))} credits ${words}.`);

/** What is read of one provider's rounds. `key` changes when what `draw` shows would. */
export class Rounds {
  #newest; #index = null;

  constructor(app) {
    this.#newest = new Newest(app, {
      id: "older-rounds", step: READ,
      epochs: () => [...app.ledger.reports.keys()].sort((a, b) => b - a),
      load: async (epoch) => {
        const { lines, ...sums } = await app.evidence(epoch).credits();
        return { lines: lines.filter((line) => line.index === this.#index), moved: movedOf(sums, this.#index) };
      },
    });
  }

  /** Turn to a provider. */
  of(index) {
    if (index !== this.#index) this.#newest.forget();
    this.#index = index;
    this.#newest.look();
    return this;
  }

  get key() {
    return `${this.#index} ${this.#newest.key}`;
  }

  draw() {
    const { read, underWay } = this.#newest.look();
    if (read.length === 0) return underWay.length > 0 ? pending(reading(underWay)) : h("p", { class: "empty" }, "Known with the first report.");
    const missing = read.filter((one) => one.missing);
    const known = read.filter((one) => one.found);
    const moved = known.flatMap(({ epoch, found }) => found.moved.map((text) => `Epoch ${epoch}: ${text}`));
    const rows = known.flatMap(({ epoch, found }) => found.lines.map((line) => ({ epoch, line })))
      .sort((a, b) => b.line.round - a.line.round).map(({ epoch, line }) => row(epoch, line));
    return [
      missing.length > 0 && unavailable(`The itemised credits of ${spread(missing.map(({ epoch }) => epoch))}`, missing[0].missing),
      table("Rounds and reasons", ["Round", "Epoch", "Credits", "Reason", "Checks", "Tokens", "Link (bandwidth / latency, of 100 each)"], rows,
        missing.length ? "No other epoch is published." : "The published evidence names this provider in no round."),
      moved.length > 0 && h("ul", { class: "plain" }, moved.map((text) => h("li", {}, text))),
      this.#newest.button(),
    ];
  }
}

const row = (epoch, line) => [
  `${line.round}`, `${epoch}`, group(BigInt(line.credits)),
  line.refused === "" ? "counted" : [h("span", { class: "refusal" }, line.refused), inWords(line.refused)],
  line.checks.length === 0 ? "not drawn" : line.checks.map((check) => `${check.check}: ${check.outcome}`).join(", "),
  group(BigInt(line.tokens)), `${line.bandwidth} / ${line.latency}`,
];

function inWords(reason) {
  const [, words] = Object.entries(WORDS).find(([code]) => reason.includes(code)) ?? [];
  return words && h("span", { class: "note" }, words);
}
