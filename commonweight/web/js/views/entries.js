// What a person enters about a computer that trains, to register it and to change that: entries with what is wrong told at them, the
// file of `commonweight provider prepare`, and what an address, a key or a place has to be before the wallet is asked anything.

import { checksum } from "../crypto.js";
import { h, visible } from "../dom.js";
import { declined, explain } from "../errors.js";
import { parseAmount } from "../money.js";
import { views } from "../run.js";
import { span } from "./parts.js";

const SCHEMA = "commonweight.registration.v1";
const ADDRESS = /^0x[0-9a-fA-F]{40}$/;
const HOST_PORT = /^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})$/;
const LIBP2P = /^(?:\/(?:ip4\/\d{1,3}(?:\.\d{1,3}){3}|ip6\/[0-9a-fA-F:.]+|dns[46]?\/[A-Za-z0-9.-]{1,253}|tcp\/\d{1,5}|p2p\/[1-9A-HJ-NP-Za-km-z]{40,64}|p2p-circuit))*\/p2p\/[1-9A-HJ-NP-Za-km-z]{40,64}$/;
const EVERY_ADDRESS = /^(?:0\.0\.0\.0|\[[0:]+\]):|\/ip4\/0\.0\.0\.0\/|\/ip6\/[0:]+\//;
const MAX_PEER = 256;  // bytes; the contract takes more, the signers do not
const FILE_LIMIT = 1 << 16;

/** What is wrong with an entry, in words for who wrote it. */
export class Wrong extends Error {
  constructor(at, text) {
    super(text);
    this.at = at;
  }
}

/** A labelled input: `root` is all of it, `tell` says at it what is wrong, or that nothing is. */
export function entry(id, label, hint, attributes = {}) {
  const note = h("p", { class: "problem", id: `${id}-note`, "aria-live": "polite" });
  const tell = (text) => {
    note.textContent = visible(text);
    input.setAttribute("aria-invalid", text === "" ? "false" : "true");
  };
  const input = h("input", { id, name: id, autocomplete: "off", spellcheck: "false", "aria-describedby": `${id}-hint ${id}-note`, oninput: () => tell(""), ...attributes });
  const root = h("div", { class: "field" }, h("label", { for: id }, label), input, h("p", { class: "hint", id: `${id}-hint` }, hint), note);
  const fill = (value) => { input.value = value; tell(""); };
  return { input, root, tell, fill, text: () => input.value.trim() };
}

/** A form whose `act` reads what was entered and reviews it: what is wrong is told at its entry, and anything else at the form's end. */
export function reviewed(app, button, parts, act) {
  const note = h("p", { class: "problem", role: "status" });
  return h("form", { novalidate: true, onsubmit: async (event) => {
    event.preventDefault();
    note.textContent = "";
    try {
      if (app.wallet.connected || (await app.connect())) await act();
    } catch (error) {
      if (error instanceof Wrong) point(error);
      else if (!declined(error)) {
        const { title, why } = await explain(error, app.run);
        note.textContent = visible(`${title}. ${why}`);
      }
    }
  } }, parts, note, h("div", { class: "buttons" }, button));
}

function point({ at, message }) {
  at.tell(message);
  at.input.closest("details")?.setAttribute("open", "");
  at.input.focus();
}

// --- the file ---------------------------------------------------------------------------------------------------------

/** The entry for the file that the computer wrote; one that is for this run is given to `take`. */
export function fileEntry(app, id, fills, take) {
  const read = async () => {
    const [chosen] = file.input.files;
    if (!chosen) return;
    try {
      const found = chosen.size > FILE_LIMIT ? null : parse(await chosen.text());
      const problem = fits(app, found);
      file.tell(problem);
      if (problem === "") await take(found);
    } catch (error) {
      file.tell(`It cannot be read: ${error.message}`);
    }
  };
  const file = entry(id, "The file from that computer", ["written by ", h("code", {}, "commonweight provider prepare FILE --peer HOST:PORT"), `; ${fills}`],
    { type: "file", accept: ".json,application/json", onchange: read });
  return file;
}

function parse(text) {
  try { return JSON.parse(text); } catch { return null; }
}

/** Why a file is of no use here, in words; empty where it is. */
function fits({ run }, found) {
  if (found?.schema !== SCHEMA || !ADDRESS.test(found.signing_key) || typeof found.peer !== "string") return "This is not a file of `commonweight provider prepare`.";
  if (String(found.run).toLowerCase() !== run.campaign) return `It is for another run, ${String(found.run).slice(0, 42)}.`;
  return String(found.chain_id) === String(run.chainId) ? "" : `It is for another chain, ${String(found.chain_id).slice(0, 20)}.`;
}

// --- the entries of both forms ----------------------------------------------------------------------------------------

export const keyEntry = (id) => entry(id, "Its signing key", ["the address that ", h("code", {}, "commonweight key show FILE"), " prints there"], { placeholder: "0x…" });
export const peerEntry = (id) => entry(id, "Where others reach it", "host and port, as the internet sees them, or a libp2p address", { placeholder: "gpu.example.org:7700" });

// --- what was entered: each throws Wrong ------------------------------------------------------------------------------

/** An address in lower case. */
export async function addressIn(at) {
  const text = at.text();
  const plain = text.toLowerCase();
  if (!ADDRESS.test(text)) throw new Wrong(at, "An address is 0x and 40 hex digits.");
  if (BigInt(plain) === 0n) throw new Wrong(at, "The zero address is nobody's.");
  if (/[A-F]/.test(text) && /[a-f]/.test(text) && (await checksum(plain)) !== text) throw new Wrong(at, "A letter of this address is wrong: its capitals do not fit.");
  return plain;
}

/** A signing key that this run has never had; `own` is the provider that asks, where it has one. */
export async function keyIn({ run, rpc }, at, own = null) {
  const key = await addressIn(at);
  const [taken] = await views(rpc, [[run.addresses.registry, "ProviderRegistry.indexOfKey", [key]]], "latest", { settle: true });
  if (taken === null) return key;
  throw new Wrong(at, own?.signingKey === key ? "This is the key already."
    : own?.index === taken ? "This was the provider's key before, and no key comes back."
    : `This key has been registered already, by provider #${taken}.`);
}

/** A place at which others reach a computer. */
export function peerIn(at) {
  const problem = peerProblem(at.text());
  if (problem) throw new Wrong(at, problem);
  return at.text();
}

/** Why nobody could be reached at a place, in words; empty where it can be one. */
export function peerProblem(text) {
  if (new TextEncoder().encode(text).length > MAX_PEER) return `It is longer than ${MAX_PEER} bytes.`;
  const ports = text.startsWith("/") ? [...text.matchAll(/\/tcp\/(\d+)/g)].map(([, port]) => port) : [HOST_PORT.exec(text)?.[1] ?? 0];
  const formed = !text.startsWith("/") || LIBP2P.test(text);
  if (!formed || ports.some((port) => Number(port) < 1 || Number(port) > 65535)) {
    return "Write host and port, like gpu.example.org:7700, or the libp2p address that `commonweight provider address` prints.";
  }
  return EVERY_ADDRESS.test(text) ? "Nobody can connect to this: it means all addresses of one machine." : "";
}

/** An amount of the run's asset, in smallest units. */
export function amountIn({ run }, at) {
  try { return parseAmount(at.text(), run.asset.decimals); } catch (error) { throw new Wrong(at, error.message); }
}

// --- what both reviews say --------------------------------------------------------------------------------------------

export const KEY_NOTE = "compare it with what the computer shows: whoever holds this key puts your stake at risk";
export const stakeNote = ({ params }) => `lost if credits for this computer's work are doubted and convicted; else yours again ${span(params.disputePeriod)} after its last credited epoch`;
export const whose = (payout, account) => (payout === account ? "your account" : "not your account");
