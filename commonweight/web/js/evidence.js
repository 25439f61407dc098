// An epoch's published evidence (docs/protocol.md, section 17). The report on chain names the digest of index.json, that names
// every other file's: nothing in here is taken on trust, and what cannot be had is an error by name.

import { NotHere, sha256 } from "./content.js";

const text = new TextDecoder();

export class Evidence {
  #content; #report; #index; #files = new Map();

  constructor(content, report) {
    this.#content = content;
    this.#report = report;
  }

  /** The files by path. */
  async index() {
    this.#index ??= this.#read().catch((error) => { this.#index = undefined; throw error; });
    return this.#index;
  }

  async #read() {
    const data = await this.#content.at(this.#report.evidenceCid, "index.json");
    if ((await sha256(data)) !== this.#report.evidenceSha256) {
      throw new NotHere(`index.json of epoch ${this.#report.epoch} is not the file whose digest the signers attested.`);
    }
    const index = JSON.parse(text.decode(data));
    return new Map(index.files.map((file) => [file.path, file]));
  }

  async bytes(path) {
    const entry = (await this.index()).get(path);
    if (entry === undefined) throw new NotHere(`The evidence of epoch ${this.#report.epoch} has no ${path}.`);
    const data = await this.#content.at(this.#report.evidenceCid, path);
    if (data.length !== entry.size || (await sha256(data)) !== entry.sha256) {
      throw new NotHere(`${path} of epoch ${this.#report.epoch} is not the file that index.json names.`);
    }
    return data;
  }

  async json(path) {
    if (!this.#files.has(path)) {
      const loading = this.bytes(path).then((data) => JSON.parse(text.decode(data)));
      this.#files.set(path, loading);
      loading.catch(() => this.#files.delete(path));
    }
    return this.#files.get(path);
  }

  /** The rounds in order: who was counted, refused and missing, and the bytes that the exchange took. */
  async rounds() {
    const index = await this.index();
    const [{ parameters }, { training }] = await Promise.all([this.json("credits.json"), this.json("config.json")]);
    const numbers = [...index.keys()].map((path) => /^records\/(\d+)\.json$/.exec(path)?.[1]).filter(Boolean).map(Number);
    return Promise.all(numbers.sort((a, b) => a - b).map((number) => this.#round(number, BigInt(parameters), training, index)));
  }

  async #round(number, parameters, training, index) {
    const { body: record } = await this.json(`records/${number}.json`);
    const counted = await Promise.all(record.counted.map(async (member) => {
      const path = `commitments/${number}-${member.index}-${member.commitment.slice(2, 18)}.json`;
      const { body } = index.has(path) ? await this.json(path) : { body: null };
      return { ...member, payloadBytes: body === null ? null : BigInt(body.payload_bytes) };
    }));
    return { number, counted, refused: record.refused, missing: record.missing, traffic: traffic(counted, parameters, training) };
  }

  /** The itemised credits of the epoch. */
  async credits() {
    return this.json("credits.json");
  }
}

/**
 * The epochs whose reports have rounds, newest first, of [epoch, attested round] pairs and what was anchored: the attested round went on,
 * or work was anchored in the epoch, though perhaps nobody was counted. Another report repeats what the one before attests.
 */
export function epochsWithRounds(reports, anchored) {
  const worked = new Set(anchored.filter(({ commitmentsRoot }) => BigInt(commitmentsRoot) > 0n).map(({ epoch }) => Number(epoch)));
  const sorted = [...reports].sort(([a], [b]) => a - b);
  return sorted.filter(([epoch, round], place) => worked.has(epoch) || round > (place === 0 ? 0n : sorted[place - 1][1]))
    .map(([epoch]) => epoch).reverse();
}

/**
 * Bytes that members sent for one round, and what fp32 synchronous training would have sent for the same steps.
 * Both count one all-reduce of n members as (n - 1) / n of the vector each and way: the payload once a round on one side, four
 * bytes a parameter at every step on the other. The way back is counted where the parts come back in the payload's own codec;
 * else its length is not published, and both sides leave it out. In a star a member sends its whole payload, to the coordinator, and
 * nothing else. Null where a commitment is not published.
 */
export function traffic(counted, parameters, { topology, codec, result_codec: results }) {
  const members = BigInt(counted.length);
  if (members < 2n || counted.some((member) => member.payloadBytes === null)) return null;
  const star = topology === "star";
  const ways = star || results === codec ? 2n : 1n;
  const share = (bytes) => (ways * (members - 1n) * bytes) / members;
  return {
    ways, star,
    sent: counted.reduce((sum, member) => sum + (star ? member.payloadBytes : share(member.payloadBytes)), 0n),
    synchronous: counted.reduce((sum, member) => sum + share(4n * parameters * BigInt(member.steps)), 0n),
  };
}
