// An epoch's published evidence (docs/protocol.md, section 17). The report on chain names the digest of index.json, that names
// every other file's: nothing in here is taken on trust, and what cannot be had is an error by name.

import { NotHere, sha256 } from "./content.js";

const text = new TextDecoder();

export class Evidence {
  #content; #report; #rounds = new Map();

  constructor(content, report) {
    this.#content = content;
    this.#report = report;
  }

  /** The files by path. */
  index() {
    const { evidenceCid, evidenceSha256 } = this.#report;
    return this.#content.keep(`index ${evidenceCid} ${evidenceSha256}`, () => this.#read());
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
    return JSON.parse(text.decode(await this.bytes(path)));
  }

  /**
   * The rounds, newest first, as far as `room` has place: who was counted, refused and missing, and the bytes that the exchange took; and how
   * many are `left`. `room` is {rounds, bytes}, of records, that may still be read, and is used up. Rounds that were read once take none of it.
   */
  async rounds(room) {
    const index = await this.index();
    const numbers = [...index.keys()].map((path) => /^records\/(\d+)\.json$/.exec(path)?.[1]).filter(Boolean).map(Number).sort((a, b) => b - a);
    const wanted = [];
    for (const number of numbers) {
      if (this.#rounds.has(number)) continue;
      if (room.rounds <= 0 || room.bytes <= 0) break;
      room.rounds -= 1;
      room.bytes -= index.get(`records/${number}.json`).size;
      wanted.push(number);
    }
    if (wanted.length > 0) {
      const [{ parameters }, { training }] = await Promise.all([this.json("credits.json"), this.json("config.json")]);
      await Promise.all(wanted.map(async (number) => this.#rounds.set(number, await this.#round(number, Number(parameters), training))));
    }
    const found = numbers.filter((number) => this.#rounds.has(number)).map((number) => this.#rounds.get(number));
    return { rounds: found, left: numbers.length - found.length };
  }

  async #round(number, parameters, training) {
    const { body: { counted, refused, missing, results } } = await this.json(`records/${number}.json`);
    // A payload that was counted was decoded, and a decoder refuses any other length: no commitment has to be read for it.
    const members = counted.map(({ index, steps, tokens }) => ({ index, steps, tokens, payloadBytes: payloadBytes(parameters, results.length, training) }));
    return { number, counted: members, refused, missing, traffic: traffic(members, BigInt(parameters), training) };
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
 * nothing else. Null where the length of a payload is not known.
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

/** The length of a payload in so many parts (docs/protocol.md, section 9), as a BigInt; null for a codec that is not known here. */
export function payloadBytes(parameters, parts, { codec, block }) {
  const blocks = Math.ceil(parameters / block);
  let total = 0;
  let start = 0;
  for (let part = 1; part <= parts; part += 1) {
    const stop = Math.min(Math.floor((part * blocks) / parts) * block, parameters);
    total += encodedSize(stop - start, codec, block);
    start = stop;
  }
  return Number.isSafeInteger(total) ? BigInt(total) : null;
}

/** Bytes of a part, as `encoded_size` of commonweight/exact/codecs.py has it; NaN for another codec. */
function encodedSize(count, codec, block) {
  const scales = 4 * Math.ceil(count / block);
  const [full, rest] = [Math.floor(count / block), count % block];
  const kept = full * Math.ceil((3 * block) / 100) + Math.ceil((3 * rest) / 100);
  return {
    fp32: 4 * count, fp16: 2 * count, int8: scales + count, int4: scales + Math.ceil(count / 2), int2: scales + Math.ceil(count / 4),
    int1: scales + Math.ceil(count / 8), ternary: scales + Math.ceil(count / 5), topk2: scales + kept * (block <= 256 ? 1 : 2) + Math.ceil(kept / 4),
  }[codec] ?? NaN;
}
