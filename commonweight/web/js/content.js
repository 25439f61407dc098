// Content by CID from any trustless gateway (`/ipfs/CID?format=raw`): every block is hashed here before it is used, so it does
// not matter who delivered it. Form and limits: docs/protocol.md, section 22.

import { toHex } from "./abi.js";

const MAX_BLOCK = 2 << 20;
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

export class Content {
  #blocks = new Map();

  constructor(gateways) {
    this.gateways = gateways.map((url) => url.replace(/\/$/, ""));
  }

  get where() {
    return this.gateways.map((url) => new URL(url, location.href).host).join(", ");
  }

  /** One block, verified. */
  block(cid) {
    if (!this.#blocks.has(cid)) {
      const loading = this.#load(cid);
      this.#blocks.set(cid, loading);
      loading.catch(() => this.#blocks.delete(cid));
    }
    return this.#blocks.get(cid);
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

  /** A file's bytes. */
  async file(cid, limit = 1 << 24) {
    const data = await this.block(cid);
    if (parseCid(cid).codec === RAW) return data;
    const node = readNode(data);
    if (node.kind !== 2 && node.kind !== 0) throw new NotHere(`${cid} is not a file.`);
    if (node.size > limit) throw new NotHere(`${cid} is longer than what is read here.`);
    const parts = node.data.length ? [node.data] : [];
    for (const link of node.links) parts.push(await this.file(link.cid, limit));
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  }

  /** Name to CID of a directory's entries; a sharded one is read whole. */
  async directory(cid, depth = 0) {
    const node = readNode(await this.block(cid));
    if (node.kind === 1) return new Map(node.links.map(({ name, cid: at }) => [name, at]));
    if (node.kind !== 5 || depth > 16) throw new NotHere(`${cid} is not a directory.`);
    const found = new Map();
    for (const link of node.links) {
      if (link.name.length > 2) found.set(link.name.slice(2), link.cid);
      else for (const [name, at] of await this.directory(link.cid, depth + 1)) found.set(name, at);
    }
    return found;
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

function* fields(data) {
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      if (at >= data.length || shift > 63n) throw new NotHere("A node is malformed.");
      const byte = data[at];
      at += 1;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < data.length) {
    const key = Number(varint());
    if ((key & 7) === 0) yield [key >> 3, varint()];
    else if ((key & 7) === 2) {
      const length = Number(varint());
      if (at + length > data.length) throw new NotHere("A node is malformed.");
      yield [key >> 3, data.subarray(at, at + length)];
      at += length;
    } else throw new NotHere("A node is malformed.");
  }
}

function readNode(data) {
  const node = { kind: -1, data: new Uint8Array(), size: 0, links: [] };
  for (const [field, value] of fields(data)) {
    if (field === 2) {
      const link = { name: "", cid: "" };
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
        else if (part === 2) node.data = content;
        else if (part === 3) node.size = Number(content);
      }
    }
  }
  return node;
}
