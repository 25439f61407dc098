// Content by CID from any trustless gateway (`/ipfs/CID?format=raw`): every block is hashed here before it is used, so it does
// not matter who delivered it. Form and limits: docs/protocol.md, section 22.

import { toHex } from "./abi.js";

const KEPT_BYTES = 32 << 20;  // of blocks, and as much of lists of files
const LISTS = 4;  // a report's index and the directories on the way to a file: they are kept however long they are
const AT_ONCE = 6;
const ENTRY_BYTES = 400;  // about what a name with its identifier, size or digest takes
const MAX_BLOCK = 2 << 20;
const MAX_FILE_DEPTH = 6;
const MAX_SHARD_LEVELS = 8;
const MAX_DIRECTORIES_BYTES = 1 << 24;
const NODE_COST = 64;
const ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";
const RAW = 0x55;
const DAG_PB = 0x70;

/** A named content that could not be had, or is not what its name says. */
export class NotHere extends Error {}

export async function sha256(data) {
  if (!globalThis.crypto?.subtle) {
    throw new NotHere("This browser hashes only on pages that came over https or from this computer; open the page that way.");
  }
  return `0x${toHex(new Uint8Array(await crypto.subtle.digest("SHA-256", data)))}`;
}

/** {codec, digest} of a CIDv1 in base32; throws for any other form. */
export function parseCid(cid) {
  if (!/^b[a-z2-7]{58}$/.test(cid)) throw new NotHere(`“${cid.slice(0, 70)}” is not a content identifier of the form used here.`);
  let bits = 0n;
  for (const letter of cid.slice(1)) bits = (bits << 5n) | BigInt(ALPHABET.indexOf(letter));
  const hex = (bits >> 2n).toString(16).padStart(72, "0");
  const codec = parseInt(hex.slice(2, 4), 16);
  if (!hex.startsWith("01") || hex.slice(4, 8) !== "1220" || ![RAW, DAG_PB].includes(codec)) {
    throw new NotHere(`${cid} is of a kind that is not used here.`);
  }
  return { codec, digest: `0x${hex.slice(8)}` };
}

export function cidOf(codec, digest) {
  let bits = BigInt(`0x01${codec.toString(16)}1220${digest.slice(2)}`) << 2n;
  let text = "";
  for (let place = 0; place < 58; place += 1) {
    text = ALPHABET[Number(bits & 31n)] + text;
    bits >>= 5n;
  }
  return `b${text}`;
}

/** What was read, by name, up to a weight: what was used least recently goes first, but for the last `least`. What fails is not kept. */
class Kept {
  #limit; #least; #entries = new Map(); #weight = 0;

  constructor(limit, least = 0) {
    this.#limit = limit;
    this.#least = least;
  }

  get(name, load, weigh) {
    const entry = this.#entries.get(name) ?? this.#begin(name, load, weigh);
    this.#entries.delete(name);
    this.#entries.set(name, entry);
    return entry.loading;
  }

  #begin(name, load, weigh) {
    const entry = { loading: load(), weight: 0 };
    entry.loading.then((value) => {
      entry.weight = weigh(value);
      this.#weight += entry.weight;
      for (const [old, { weight }] of this.#entries) {
        if (this.#weight <= this.#limit || this.#entries.size <= this.#least) break;
        if (weight === 0) continue;  // still on its way
        this.#entries.delete(old);
        this.#weight -= weight;
      }
    }, () => this.#entries.delete(name));
    return entry;
  }
}

export class Content {
  #blocks = new Kept(KEPT_BYTES); #lists = new Kept(KEPT_BYTES, LISTS); #free = AT_ONCE; #waiting = [];

  constructor(gateways) {
    this.gateways = gateways.map((url) => url.replace(/\/$/, ""));
  }

  get where() {
    return this.gateways.map((url) => new URL(url, location.href).host).join(", ");
  }

  /** One block, verified. */
  block(cid) {
    return this.#blocks.get(cid, () => this.#inTurn(() => this.#load(cid)), (data) => data.length + ENTRY_BYTES);
  }

  /** A map that `load` makes of content, kept by a name. */
  keep(name, load) {
    return this.#lists.get(name, load, (map) => (map.size + 1) * ENTRY_BYTES);
  }

  async #inTurn(act) {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise((resolve) => this.#waiting.push(resolve));
    try {
      return await act();
    } finally {
      if (this.#waiting.length > 0) this.#waiting.shift()();
      else this.#free += 1;
    }
  }

  async #load(cid) {
    const { digest } = parseCid(cid);
    if (this.gateways.length === 0) throw new NotHere("No content gateway is named: add ?gateway=https://… to this page's address.");
    let wrong = "";
    for (const gateway of this.gateways) {
      try {
        const response = await fetch(`${gateway}/ipfs/${cid}?format=raw`, {
          headers: { accept: "application/vnd.ipld.raw" }, credentials: "omit", referrerPolicy: "no-referrer",
          signal: AbortSignal.timeout(20_000),
        });
        if (!response.ok) continue;
        const data = new Uint8Array(await response.arrayBuffer());
        if (data.length > MAX_BLOCK) continue;
        if ((await sha256(data)) === digest) return data;
        wrong = ` What ${new URL(gateway, location.href).host} delivered is something else.`;
      } catch (error) {
        if (error instanceof NotHere) throw error;
      }
    }
    throw new NotHere(`${cid} is not to be had from ${this.where}.${wrong}`);
  }

  async #node(cid, budget) {
    const data = await this.block(cid);
    const node = parseCid(cid).codec === RAW ? { kind: 0, data, size: data.length, links: [] } : readNode(data);
    const times = budget.visits ? (budget.visits.get(cid) ?? 0) + 1 : 1;
    budget.visits?.set(cid, times);
    budget.left -= times * (NODE_COST + data.length - node.data.length);
    if (budget.left < 0) throw new NotHere(`The tree under ${budget.root} is too large for what it holds.`);
    return node;
  }

  /** A file's bytes. */
  async file(cid, limit = 1 << 24) {
    const root = await this.#node(cid, { root: cid, left: Infinity });
    if (root.kind !== 2 && root.kind !== 0) throw new NotHere(`${cid} is not a file.`);
    if (root.size > limit) throw new NotHere(`${cid} is longer than what is read here.`);
    const parts = [];
    await this.#pieces(cid, root.size, 0, { root: cid, left: 65_536 + Math.floor(root.size / 16) }, parts);
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  }

  async #pieces(cid, expected, depth, budget, parts) {
    const { kind, size, data, links } = await this.#node(cid, budget);
    const held = links.reduce((sum, link) => sum + link.size, data.length);
    if ((kind !== 2 && kind !== 0) || size !== expected || size !== held || depth > MAX_FILE_DEPTH || (depth > 0 && size === 0)) {
      throw new NotHere(`The file node ${cid} is malformed.`);
    }
    if (data.length > 0) parts.push(data);
    for (const link of links) await this.#pieces(link.cid, link.size, depth + 1, budget, parts);
  }

  /** Name to CID of a directory's entries; a sharded one is read whole. */
  directory(cid) {
    return this.keep(`directory ${cid}`, async () => {
      const found = new Map();
      await this.#entries(cid, 0, { root: cid, left: MAX_DIRECTORIES_BYTES, visits: new Map() }, found);
      return found;
    });
  }

  async #entries(cid, depth, budget, found) {
    const node = await this.#node(cid, budget);
    if ((node.kind !== 1 && node.kind !== 5) || depth >= MAX_SHARD_LEVELS || (depth > 0 && node.links.length === 0)) {
      throw new NotHere(`${cid} is not a directory.`);
    }
    for (const { name, cid: at } of node.links) {
      if (node.kind === 1) found.set(name, at);
      else if (name.length > 2) found.set(name.slice(2), at);
      else await this.#entries(at, depth + 1, budget, found);
    }
  }

  async resolve(cid, path) {
    let at = cid;
    for (const part of path.split("/")) {
      const next = (await this.directory(at)).get(part);
      if (next === undefined) throw new NotHere(`The directory ${cid} has no file ${path}.`);
      at = next;
    }
    return at;
  }

  async at(cid, path) {
    return this.file(await this.resolve(cid, path));
  }
}

// --- dag-pb and UnixFS (protobuf) -------------------------------------------------------------------------------------

function varint(data, from) {
  let value = 0n;
  for (let at = from, shift = 0n; ; at += 1, shift += 7n) {
    if (at >= data.length || shift > 63n) throw new NotHere("A node is malformed.");
    value |= BigInt(data[at] & 127) << shift;
    if (data[at] < 128) return [value, at + 1];
  }
}

function* varints(data) {
  for (let at = 0, value; at < data.length;) {
    [value, at] = varint(data, at);
    yield value;
  }
}

function* fields(data) {
  for (let at = 0, key, value; at < data.length;) {
    [key, at] = varint(data, at);
    [value, at] = varint(data, at);
    const wire = Number(key & 7n);
    if (wire === 2) {
      const end = at + Number(value);
      if (end > data.length) throw new NotHere("A node is malformed.");
      value = data.subarray(at, end);
      at = end;
    } else if (wire !== 0) throw new NotHere("A node is malformed.");
    yield [Number(key >> 3n), value];
  }
}

function readNode(data) {
  const node = { kind: -1, data: new Uint8Array(), size: 0, links: [] };
  const sizes = [];
  for (const [field, value] of fields(data)) {
    if (field === 2) {
      const link = { name: "", cid: "", size: 0 };
      for (const [part, content] of fields(value)) {
        if (part === 1) {
          const hex = toHex(content);
          link.cid = cidOf(parseInt(hex.slice(2, 4), 16), `0x${hex.slice(8)}`);
        } else if (part === 2) link.name = new TextDecoder().decode(content);
      }
      parseCid(link.cid);
      node.links.push(link);
    } else if (field === 1) {
      for (const [part, content] of fields(value)) {
        if (part === 1) node.kind = Number(content);
        else if (part === 2 && node.kind !== 5) node.data = content;
        else if (part === 3) node.size = Number(content);
        else if (part === 4) for (const size of typeof content === "bigint" ? [content] : varints(content)) sizes.push(size);
      }
    }
  }
  node.links.forEach((link, place) => { link.size = Number(sizes[place] ?? 0n); });
  return node;
}
