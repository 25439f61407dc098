// A wallet's stake for a computer that trains. The key that signs work belongs to that computer and never comes here: what comes is
// its address, in the file that `commonweight provider prepare` writes there, or typed.

import { review } from "../actions.js";
import { checksum } from "../crypto.js";
import { copyable, h, say, visible } from "../dom.js";
import { declined, explain } from "../errors.js";
import { exact, parseAmount } from "../money.js";
import { planAllowance } from "../paying.js";
import { views } from "../run.js";
import { card, exactly, money, span } from "./parts.js";

const SCHEMA = "commonweight.registration.v1";
const ADDRESS = /^0x[0-9a-fA-F]{40}$/;
const PEER = /^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})$/;
const MAX_PEER = 512;
const FILE_LIMIT = 1 << 16;

/** The card with the form; it is made once, so that what is typed stays. */
export function registering(app) {
  const { run } = app;
  const { decimals, symbol } = run.asset;
  const notes = {};
  const field = (id, label, hint, attributes = {}) => {
    const input = h("input", { id, name: id, autocomplete: "off", spellcheck: "false", "aria-describedby": `${id}-hint ${id}-note`, oninput: () => tell(id, ""), ...attributes });
    notes[id] = h("p", { class: "problem", id: `${id}-note`, "aria-live": "polite" });
    return [input, h("div", { class: "field" }, h("label", { for: id }, label), input, h("p", { class: "hint", id: `${id}-hint` }, hint), notes[id])];
  };
  const [key, keyField] = field("signing-key", "Its signing key", ["the address that ", h("code", {}, "commonweight key show FILE"), " prints there"], { placeholder: "0x…" });
  const [peer, peerField] = field("peer", "Where others reach it", "host and port, as the internet sees them", { placeholder: "gpu.example.org:7700" });
  const [stake, stakeField] = field("stake-amount", `Stake in ${symbol}`, `at least ${exactly(run, run.params.providerStake)}`,
    { inputmode: "decimal", value: exact(run.params.providerStake, decimals) });
  const [payout, payoutField] = field("payout", "Paid to", "an address; your account if you leave it empty", { placeholder: "your account" });
  const [file, fileField] = field("registration", "The file from that computer", ["written by ", h("code", {}, "commonweight provider prepare FILE --peer HOST:PORT"), "; it fills the next two fields"],
    { type: "file", accept: ".json,application/json", onchange: () => read() });

  function tell(id, text) {
    notes[id].textContent = visible(text);
    form.elements[id].setAttribute("aria-invalid", text === "" ? "false" : "true");
  }

  async function read() {
    const [chosen] = file.files;
    if (!chosen) return;
    try {
      const found = chosen.size > FILE_LIMIT ? null : parse(await chosen.text());
      const problem = fits(app, found);
      if (problem) return tell("registration", problem);
      key.value = found.signing_key;
      peer.value = found.peer;
      for (const id of ["registration", "signing-key", "peer"]) tell(id, "");
      say("The file is for this run; its two entries are filled in.");
    } catch (error) {
      tell("registration", `It cannot be read: ${error.message}`);
    }
  }

  /** The first thing that is wrong, told at its field; the four values where nothing is. */
  async function values() {
    const wrong = (input, text) => { tell(input.id, text); input.focus(); return null; };
    const { account } = app.wallet;
    const found = { account, key: key.value.trim().toLowerCase(), peer: peer.value.trim(), payout: payout.value.trim().toLowerCase() || account };
    if (!ADDRESS.test(found.key) || BigInt(found.key) === 0n) return wrong(key, "An address is 0x and 40 hex digits.");
    const port = Number(PEER.exec(found.peer)?.[1] ?? 0);
    if (port < 1 || port > 65535 || found.peer.length > MAX_PEER) return wrong(peer, "Write host and port, like gpu.example.org:7700.");
    try { found.stake = parseAmount(stake.value, decimals); } catch (error) { return wrong(stake, error.message); }
    if (found.stake < run.params.providerStake) return wrong(stake, `This run asks for at least ${exactly(run, run.params.providerStake)}.`);
    if (!ADDRESS.test(found.payout) || BigInt(found.payout) === 0n) { more.open = true; return wrong(payout, "An address is 0x and 40 hex digits."); }
    for (const input of [key, payout]) {
      if (!(await spelledRight(input.value.trim()))) return wrong(input, "A letter of this address is wrong: its capitals do not fit.");
    }
    const [taken] = await views(app.rpc, [[run.addresses.registry, "ProviderRegistry.indexOfKey", [found.key]]], "latest", { settle: true });
    return taken === null ? found : wrong(key, `This key has been registered already, by provider #${taken}.`);
  }

  const more = h("details", { id: "registering-more" }, h("summary", {}, "Be paid to another address"), payoutField);
  const note = h("p", { class: "problem", role: "status" });
  const form = h("form", { novalidate: true, onsubmit: async (event) => {
    event.preventDefault();
    note.textContent = "";
    try {
      if (!app.wallet.connected && !(await app.connect())) return;
      const found = await values();
      if (found) await review(app, await action(app, found, () => { key.value = peer.value = ""; }));
    } catch (error) {
      if (declined(error)) return;
      const { title, why } = await explain(error);
      note.textContent = visible(`${title}. ${why}`);
    }
  } }, fileField, keyField, peerField, stakeField, more, note,
    h("div", { class: "buttons" }, h("button", { class: "primary", id: "register-button" }, "Review the registration")));
  return card("register", "Lend a computer",
    h("p", {}, "The computer that trains has a key of its own, which signs its work and stays there. Your wallet posts the stake of ", money(run, run.params.providerStake),
      " for it and is paid. Without a wallet, ", h("code", {}, "commonweight provider register"), " does the same there."),
    form);
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

/** Whether the capitals of an address, where it has any, are its checksum. */
async function spelledRight(text) {
  return !(/[A-F]/.test(text) && /[a-f]/.test(text)) || (await checksum(text.toLowerCase())) === text;
}

async function action(app, { account, key, peer, payout, stake }, sent) {
  const { run } = app;
  const { registry } = run.addresses;
  const { how, first } = await planAllowance(app, account, registry, stake, "the registry");
  const [signing, paid] = await Promise.all([checksum(key), checksum(payout)]);
  return {
    title: `Register a computer with ${exactly(run, stake)} at stake`,
    rows: [
      ["You stake", exactly(run, stake), `lost if credits for this key's work are doubted and convicted; else yours again ${span(run.params.disputePeriod)} after its last credited epoch`],
      ["Signing key", copyable(signing, "signing key", true), "compare it with what the computer shows: whoever holds this key puts your stake at risk"],
      ["Others reach it at", peer],
      ["Paid to", copyable(paid, "payout address", true), payout === account ? "your account" : "not your account"],
      how,
      ["Then", ["run ", h("code", {}, "commonweight provider start"), " on that computer"]],
    ].filter(Boolean),
    call: { to: registry, name: "ProviderRegistry.register", values: [key, payout, peer, stake], value: run.asset.native ? stake : 0n },
    account, first, sent,
  };
}
