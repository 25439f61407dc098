// A run's events page by page, where a node does not give all at once (loaded only then). What is final stays: an error, or a reload within the
// session, goes on from there. What is kept names the nodes that told it, chain, run and its last block, which is asked for again.

import { sha256 } from "./content.js";
import { Nonsense, RpcError, Unreachable } from "./rpc.js";

const MOST = 4;  // pages that are asked for at once
const PATIENCE = 64;  // longest row of good answers before a longer page is tried again
const SHORTEST = 1_000n;  // a node that does not answer is asked for no shorter pages than this
const KEPT_MS = 86_400_000;
const PREFIX = "commonweight ";

const hex = (number) => `0x${number.toString(16)}`;

export class Pages {
  #rpc; #address; #store; #told; #turn = Promise.resolve();
  #from = null; #at; #found = [];  // what is final and read: the logs from `from` up to the block before `at`
  #span; #width = 1; #most = MOST; #good = 0; #patience = 2; #probing = false; #suspect = 0;

  /** The logs of `address`; `span` is a number of blocks that was too many; `told(at, to)` hears how far it is. */
  constructor(rpc, { chainId, campaign }, address, span, told) {
    this.#rpc = rpc;
    this.#address = address;
    this.#span = (span + 1n) / 2n;
    this.#told = told;
    this.#store = openStore(`${chainId} ${campaign} ${rpc.urls.join(" ")}`);
  }

  /** All logs from a block up to `head`. Pages up to the block that was final before they were asked for are asked for once. */
  read(from, head, final) {
    const read = this.#turn.then(() => this.#read(from, head, final));
    this.#turn = read.catch(() => {});
    return read;
  }

  async #read(from, head, final) {
    const to = BigInt(head.number);
    if (this.#from === null) await this.#resume(from, final);
    else if (this.#from !== from) {
      this.#found = this.#found.filter(({ blockNumber }) => BigInt(blockNumber) >= from);
      this.#from = from;
      if (this.#at < from) this.#at = from;
    }
    const loose = [];
    for (let at = this.#at; at <= to;) {
      const wave = this.#ranges(at, final, to);
      const answers = await Promise.allSettled(wave.map(([start, end]) => this.#page(start, end, end === to ? head.hash : null)));
      for (const [place, { value }] of answers.entries()) {
        if (value === undefined) break;
        const [start, end] = wave[place];
        at = end + 1n;
        if (end > final) loose.push(...value.logs);
        else {
          this.#found.push(...value.logs);
          this.#at = at;
          this.#store.then((store) => store?.put(start, { end, ...value }));
        }
      }
      this.#told(at - 1n, to);
      const refused = answers.findIndex(({ status }) => status === "rejected");
      if (refused < 0) this.#grow();
      else this.#shrink(answers[refused].reason, wave[refused], wave.length);
    }
    return [...this.#found, ...loose];
  }

  /** No page has both final blocks and others. */
  #ranges(from, final, to) {
    const found = [];
    for (let start = from; found.length < this.#width && start <= to;) {
      const last = start <= final && final < to ? final : to;
      const end = start + this.#span > last ? last : start + this.#span - 1n;
      found.push([start, end]);
      start = end + 1n;
    }
    return found;
  }

  /** The logs of a range, from a node that knows its last block: one that lags behind would leave some out. */
  async #page(start, end, hash) {
    const range = { address: this.#address, fromBlock: hex(start), toBlock: hex(end) };
    const [logs, block] = await this.#rpc.batch([["eth_getLogs", [range]], ["eth_getBlockByNumber", [hex(end), false]]]);
    if (block === null || BigInt(block.number) !== end || (hash !== null && block.hash !== hash)) {
      throw this.#nonsense(`The node tells events up to block ${end} and does not know this block, or another in its place.`);
    }
    const inside = ({ blockNumber }) => BigInt(blockNumber) >= start && BigInt(blockNumber) <= end;
    if (!logs.every(inside)) throw this.#nonsense(`The node tells events of other blocks than ${start} to ${end}.`);
    const kept = logs.map(({ topics, data, blockNumber, transactionHash, logIndex }) => ({ topics, data, blockNumber, transactionHash, logIndex }));
    return { logs: kept, hash: block.hash };
  }

  #nonsense(words) {
    this.#rpc.distrust();
    return new Nonsense(words);
  }

  #grow() {
    if (this.#probing) this.#patience = 2;
    this.#probing = false;
    if (this.#suspect > 0) this.#most = Math.max(1, this.#suspect - 1);  // one at a time went: it was their number that was refused
    this.#suspect = 0;
    this.#good += 1;
    this.#width = Math.min(this.#most, this.#width + 1);
    if (this.#good < this.#patience) return;
    this.#span *= 2n;
    this.#width = 1;
    this.#good = 0;
    this.#probing = true;
  }

  /** Nodes limit ranges, each in its own words, and some how much is asked for at once. */
  #shrink(error, [start, end], count) {
    const length = end - start + 1n;
    this.#good = 0;
    this.#width = 1;
    if (error instanceof Unreachable && length > SHORTEST) this.#span = length / 8n > SHORTEST ? length / 8n : SHORTEST;
    if (!(error instanceof RpcError) || (count === 1 && length === 1n)) throw error;
    this.#suspect = count > 1 ? count : 0;
    if (count > 1) return;
    this.#span = length / 2n;
    this.#patience = this.#probing ? Math.min(PATIENCE, this.#patience * 2) : 2;
    this.#probing = false;
  }

  /** Go on from what this session has kept, if its last block is still there. */
  async #resume(from, final) {
    this.#from = this.#at = from;
    const store = await this.#store;
    const pages = (await store?.all()) ?? [];
    const row = [];
    for (const page of pages) if (page.start === (row.at(-1)?.end ?? from - 1n) + 1n && page.end <= final) row.push(page);
    if (row.length === 0) return;
    const { end, hash } = row.at(-1);
    const block = await this.#rpc.call("eth_getBlockByNumber", [hex(end), false]);
    if (block?.hash !== hash) return void (await store.clear());
    this.#found = row.flatMap(({ logs }) => logs);
    this.#at = end + 1n;
    this.#span = row.reduce((most, page) => (page.end - page.start + 1n > most ? page.end - page.start + 1n : most), 1n);
  }
}

// --- what a session keeps -----------------------------------------------------------------------------------------------

/** A database of this tab's session, for one source; null where the browser keeps nothing. Those that are a day old are deleted. */
async function openStore(source) {
  try {
    const key = `pages ${await sha256(new TextEncoder().encode(source))}`;  // an RPC address may hold a secret
    const known = sessionStorage.getItem(key);
    const name = known ?? `${PREFIX}${Date.now()} ${crypto.randomUUID()}`;
    sessionStorage.setItem(key, name);
    for (const { name: other } of await indexedDB.databases()) {
      if (other.startsWith(PREFIX) && other !== name && Date.now() - Number(other.split(" ")[1]) > KEPT_MS) indexedDB.deleteDatabase(other);
    }
    const asked = indexedDB.open(name, 1);
    asked.onupgradeneeded = () => asked.result.createObjectStore("pages");
    const database = await done(asked);
    database.onversionchange = () => database.close();
    const pages = (mode) => database.transaction("pages", mode).objectStore("pages");
    const attempt = (act) => Promise.resolve().then(act).then(done).catch(() => null);
    return {
      put: (start, page) => attempt(() => pages("readwrite").put({ start, ...page }, Number(start))),
      all: () => attempt(() => pages("readonly").getAll()),
      clear: () => attempt(() => pages("readwrite").clear()),
    };
  } catch {
    return null;
  }
}

const done = (asked) => new Promise((resolve, reject) => {
  asked.onsuccess = () => resolve(asked.result);
  asked.onerror = asked.onblocked = () => reject(asked.error);
});
