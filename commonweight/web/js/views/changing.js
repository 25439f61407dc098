// What a provider changes of its registration: key, payout address, place, stake. Each is one transaction of the account that
// registered, and its review shows what is now beside what it becomes.

import { review } from "../actions.js";
import { checksum } from "../crypto.js";
import { copyable, h, say } from "../dom.js";
import { planAllowance } from "../paying.js";
import { views } from "../run.js";
import { KEY_NOTE, Wrong, addressIn, amountIn, entry, fileEntry, keyEntry, keyIn, peerEntry, peerIn, reviewed, stakeNote, whose } from "./entries.js";
import { card, exactly } from "./parts.js";

/** The card with a form for each change of provider `index`; it is made once for each, so that what is typed stays. */
export function changing(app, index) {
  const { run } = app;
  const key = keyEntry("new-key");
  const payout = entry("new-payout", "Paid to", "an address; what is not claimed yet goes there, too", { placeholder: "0x…" });
  const peer = peerEntry("new-peer");
  const stake = entry("more-stake", `To add, in ${run.asset.symbol}`, "on top of what is at stake", { inputmode: "decimal" });
  const file = fileEntry(app, "new-registration", "it fills in the key and, where it names another place, that one below", async (found) => {
    key.fill(found.signing_key);
    const moved = found.peer !== (await present(app, index)).peer;
    if (moved) {
      peer.fill(found.peer);
      parts.peer.open = true;
    }
    say(`The file is for this run; its key is filled in${moved ? ", and below its place, which is a change of its own" : ""}.`);
  });

  const part = (name, what, entries, plan) => {
    const button = h("button", { class: "primary", id: `${name}-change` }, "Review the change");
    const sent = () => entries.forEach((one) => one.fill(""));
    const form = reviewed(app, button, entries.map(({ root }) => root), async () => {
      const now = await present(app, index);
      await review(app, { account: now.account, sent, ...(await plan(app, now, entries.at(-1))) });
    });
    return h("details", { id: `change-${name}` }, h("summary", {}, what), form);
  };
  const parts = {
    key: part("key", "Sign with another key", [file, key], keyAction),
    payout: part("payout", "Be paid to another address", [payout], payoutAction),
    peer: part("peer", "Be reached at another place", [peer], peerAction),
    stake: part("stake", "Add to the stake", [stake], stakeAction),
  };
  return card("changing", `Change provider #${index}`,
    h("p", {}, "Each change is a transaction of your account. On the command line, ", h("code", {}, "commonweight provider change"), " makes the same."),
    Object.values(parts));
}

/** What the registry says of a provider now, by its account, who alone can change it. */
async function present({ run, rpc, wallet }, index) {
  const [found] = await views(rpc, [[run.addresses.registry, "ProviderRegistry.providerAt", [index]]], "latest");
  if (found.account !== wallet.account) throw new Error(`Provider #${index} is not registered by the account that is connected now.`);
  return { index, ...found };
}

async function keyAction(app, now, at) {
  const key = await keyIn(app, at, now);
  const [before, after] = await Promise.all([checksum(now.signingKey), checksum(key)]);
  return {
    title: `Have provider #${now.index} sign with another key`,
    rows: [
      ["Signing key now", copyable(before, "present signing key", true), "can never be used again in this run"],
      ["Signing key then", copyable(after, "new signing key", true), KEY_NOTE],
      ["The process that runs now", "is refused once the change is final", "only documents signed by the key of that moment get receipts: stop it, or pause it, when its round is over"],
      ["Then", ["run ", h("code", {}, "commonweight provider start"), " with the new key"], "once this is final, and not before the other has stopped"],
      ["Your credits and stake", "stay with this provider; the stake answers for what either key signed"],
    ],
    call: { to: app.run.addresses.registry, name: "ProviderRegistry.rotateKey", values: [key] },
  };
}

async function payoutAction({ run }, now, at) {
  const payout = await addressIn(at);
  if (payout === now.payout) throw new Wrong(at, "It is paid there already.");
  const [before, after] = await Promise.all([checksum(now.payout), checksum(payout)]);
  return {
    title: `Have provider #${now.index} paid to another address`,
    rows: [
      ["Paid to now", copyable(before, "present payout address", true), whose(now.payout, now.account)],
      ["Paid to then", copyable(after, "new payout address", true), whose(payout, now.account)],
      ["What goes there", "all wages and revenue not yet claimed, too", "claim first what should still go to the present address"],
      ["Your stake", "is paid back to your account, as before"],
    ],
    call: { to: run.addresses.registry, name: "ProviderRegistry.setPayout", values: [payout] },
  };
}

async function peerAction({ run }, now, at) {
  const peer = peerIn(at);
  if (peer === now.peer) throw new Wrong(at, "It is reached there already.");
  return {
    title: `Have provider #${now.index} reached at another place`,
    rows: [
      ["Reached at now", now.peer || "no address"],
      ["Reached at then", peer],
      ["Its work", "others learn of the new place within some seconds once this is final"],
      ["Then", ["stop ", h("code", {}, "commonweight provider start"), " when its round is over, and start it again at the new place"]],
      ["Your credits and stake", "stay as they are; nothing is paid"],
    ],
    call: { to: run.addresses.registry, name: "ProviderRegistry.setPeer", values: [peer] },
  };
}

async function stakeAction(app, now, at) {
  const { run } = app;
  const { registry } = run.addresses;
  const amount = amountIn(app, at);
  if (now.exitAt > 0n) throw new Wrong(at, "This provider is leaving: nothing can be added to its stake (AlreadyExited).");
  const { how, first } = await planAllowance(app, now.account, registry, amount, "the registry");
  return {
    title: `Add ${exactly(run, amount)} to the stake of provider #${now.index}`,
    rows: [
      ["You stake", exactly(run, amount), stakeNote(run)],
      ["Stake now", exactly(run, now.stake)],
      ["Stake then", exactly(run, now.stake + amount), "it cannot be taken back in part, only as a whole once you have left"],
      ["Its work", "more of its credits fit into an epoch", "a stake limits how many do, the others wait; it counts for epochs that are closed afterwards"],
      how,
    ].filter(Boolean),
    call: { to: registry, name: "ProviderRegistry.addStake", values: [amount], value: run.asset.native ? amount : 0n },
    first,
  };
}
