// Transactions that were sent from this page: waiting, mined, final, or gone. They are kept over a reload, and every look at the
// chain starts from nothing: a reorganisation that takes a block away makes its transactions wait again.

import { explain } from "./errors.js";
import { RpcError } from "./rpc.js";

const KEPT = 20;

export class Transactions {
  #key; #rpc; #list; #listeners = [];

  constructor(rpc, run) {
    this.#rpc = rpc;
    this.#key = `commonweight.transactions.${run.chainId}.${run.campaign}`;
    try { this.#list = JSON.parse(localStorage.getItem(this.#key)) ?? []; } catch { this.#list = []; }
  }

  get list() {
    return this.#list;
  }

  get unsettled() {
    return this.#list.some((t) => !["final", "replaced"].includes(t.state));
  }

  onChange(listener) {
    this.#listeners.push(listener);
  }

  /** Note a transaction that the wallet has sent. */
  add({ hash, from, title, call }) {
    this.#list = [{ hash, from, title, call, state: "waiting" }, ...this.#list.filter((t) => t.hash !== hash)].slice(0, KEPT);
    this.#save();
  }

  dismiss(hash) {
    this.#list = this.#list.filter((t) => t.hash !== hash);
    this.#save();
  }

  /** Look where every transaction that is not final stands. */
  async refresh({ number, finalNumber }) {
    for (const one of this.#list.filter((t) => !["final", "replaced"].includes(t.state))) {
      Object.assign(one, await this.#stateOf(one, number, finalNumber));
    }
    this.#save();
  }

  /** Until a transaction is mined. Throws when the contract refused it or another took its place. */
  async mined(hash, wait) {
    for (;;) {
      const one = this.#list.find((t) => t.hash === hash);
      if (one === undefined || one.state === "replaced") throw new Error("Another transaction took its place.");
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
    if (sent !== null) return { state: "waiting", block: undefined, nonce: sent.nonce, again: one.block !== undefined || one.again };
    if (one.nonce !== undefined) {
      const used = BigInt(await this.#rpc.call("eth_getTransactionCount", [one.from, `0x${finalNumber.toString(16)}`]));
      if (used > BigInt(one.nonce)) return { state: "replaced" };
    }
    return { state: "waiting", block: undefined, again: one.block !== undefined || one.again };
  }

  /** Why a mined transaction was refused: the same call again at its block. */
  async #reason(one, receipt) {
    try {
      await this.#rpc.call("eth_call", [{ from: one.from, ...one.call }, receipt.blockNumber]);
    } catch (error) {
      if (error instanceof RpcError) return (await explain(error)).why;
    }
    return "The contract refused it when it was mined.";
  }

  #save() {
    localStorage.setItem(this.#key, JSON.stringify(this.#list));
    for (const listener of this.#listeners) listener();
  }
}
