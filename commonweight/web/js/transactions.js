// Transactions that were sent from this page: asked of the wallet, waiting, mined, final, or gone. They are kept over a reload, shared by all tabs of the
// run, and every look at the chain starts from nothing: a reorganisation that takes a block away makes its transactions wait again.

import { keep, recall } from "./dom.js";
import { explain } from "./errors.js";
import { RpcError } from "./rpc.js";

const KEPT = 20;
const OVER = ["final", "replaced", "asked"];  // of these the chain tells nothing more
const hex = (number) => `0x${number.toString(16)}`;

export class Transactions {
  #key; #rpc; #run; #list = []; #listeners = []; #open = new Set();

  constructor(rpc, run) {
    this.#rpc = rpc;
    this.#run = run;
    this.#key = `commonweight.transactions.${run.chainId}.${run.campaign}`;
    this.kept = true;  // whether a reload finds them
    this.#list = this.#stored();
    globalThis.addEventListener("storage", ({ key }) => { if (key === this.#key) this.#change((list) => list); });
  }

  get list() {
    return this.#list;
  }

  /** Those of which the chain may still tell something else. */
  get unsettled() {
    return this.#list.filter((t) => !OVER.includes(t.state));
  }

  onChange(listener) {
    this.#listeners.push(listener);
  }

  /** Have `send` ask the wallet, and note what it has sent, after block `since`; its hash. A page that is gone before the wallet answers leaves what it asked for. */
  async add({ from, title, call, since }, send) {
    const note = { hash: crypto.randomUUID?.() ?? `${Date.now()}`, from, title, call, since: since.toString(), state: "asked" };
    this.#open.add(note.hash);
    this.#change((list) => [note, ...list].slice(0, KEPT));
    try {
      const hash = await send();
      this.#change((list) => [{ ...note, hash, state: "waiting" }, ...list.filter((t) => ![hash, note.hash].includes(t.hash))]);
      return hash;
    } catch (error) {
      this.dismiss(note.hash);
      throw error;
    }
  }

  /** Whether the wallet was asked by a page that no longer hears its answer, or by another tab. */
  lost({ state, hash }) {
    return state === "asked" && !this.#open.has(hash);
  }

  dismiss(hash) {
    this.#change((list) => list.filter((t) => t.hash !== hash));
  }

  /** Look where every transaction that is not final stands. */
  async refresh({ number, finalNumber }) {
    const looked = new Map();
    for (const one of this.unsettled) looked.set(one.hash, { ...one, ...(await this.#stateOf(one, number, finalNumber)) });
    this.#change((list) => list.map((one) => looked.get(one.hash) ?? one));
  }

  /** Until a transaction is mined. Throws when the contract refused it or another took its place. */
  async mined(hash, wait) {
    for (;;) {
      const one = this.#list.find((t) => t.hash === hash || t.was === hash);
      if (one === undefined) throw new Error("It was put away before it was mined.");
      if (one.state === "replaced") throw new Error("Another transaction took its place.");
      if (one.failed) throw new Error(one.reason);
      if (one.state !== "waiting") return;
      await wait();
    }
  }

  async #stateOf(one, number, finalNumber) {
    const [receipt, sent] = await this.#rpc.batch([
      ["eth_getTransactionReceipt", [one.hash]], ["eth_getTransactionByHash", [one.hash]],
    ]);
    if (receipt !== null) {
      const block = BigInt(receipt.blockNumber);
      const final = block <= finalNumber;
      const place = { block: block.toString(), confirmations: Number(number - block) + 1, nonce: sent?.nonce ?? one.nonce };
      if (receipt.status === "0x0") {
        return { ...place, state: final ? "final" : "mined", failed: true, reason: one.reason ?? (await this.#reason(one, receipt)) };
      }
      return { ...place, state: final ? "final" : "mined", failed: false, reason: undefined };
    }
    if (sent !== null) return { state: "waiting", block: undefined, nonce: sent.nonce, unseen: 0, again: one.block !== undefined || one.again };
    if (one.nonce !== undefined) {
      const used = BigInt(await this.#rpc.call("eth_getTransactionCount", [one.from, hex(finalNumber)]));
      if (used > BigInt(one.nonce)) {
        const hash = await this.#spedUp(one, finalNumber);
        return hash === null ? { state: "replaced" } : { ...(await this.#stateOf({ ...one, hash }, number, finalNumber)), hash, was: one.was ?? one.hash };
      }
    }
    const unseen = one.nonce === undefined ? (one.unseen ?? 0) + 1 : 0;
    return { state: "waiting", block: undefined, unseen, again: one.block !== undefined || one.again };
  }

  /** The transaction that took one's place, where it does the same for another fee; null where it does not or cannot be found. */
  async #spedUp({ from, nonce, call, since }, finalNumber) {
    try {
      let [low, high] = [BigInt(since), finalNumber];  // the first block after which the nonce is used
      while (low < high) {
        const middle = (low + high) / 2n;
        if (BigInt(await this.#rpc.call("eth_getTransactionCount", [from, hex(middle)])) > BigInt(nonce)) high = middle;
        else low = middle + 1n;
      }
      const { transactions } = await this.#rpc.call("eth_getBlockByNumber", [hex(low), true]);
      const found = transactions.find((t) => t.from.toLowerCase() === from && BigInt(t.nonce) === BigInt(nonce));
      const same = found.to?.toLowerCase() === call.to && found.input === call.data && BigInt(found.value) === BigInt(call.value ?? 0);
      return same ? found.hash : null;
    } catch {
      return null;
    }
  }

  /** Why a mined transaction was refused: the same call again at its block. */
  async #reason(one, receipt) {
    try {
      await this.#rpc.call("eth_call", [{ from: one.from, ...one.call }, receipt.blockNumber]);
    } catch (error) {
      if (error instanceof RpcError) return (await explain(error, this.#run)).why;
    }
    return "The contract refused it when it was mined.";
  }

  #stored() {
    if (!this.kept) return this.#list;
    try { return JSON.parse(recall("localStorage", this.#key)) ?? []; } catch { return []; }
  }

  /** What is kept is changed, and not what was read before: another tab may have sent something meanwhile. */
  #change(make) {
    const text = JSON.stringify(make(this.#stored()));
    this.#list = JSON.parse(text);
    this.kept &&= keep("localStorage", this.#key, text);
    for (const listener of this.#listeners) listener();
  }
}
