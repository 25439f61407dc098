// A wallet's stake for a computer that trains. The key that signs work belongs to that computer and never comes here: what comes is
// its address, in the file that `commonweight provider prepare` writes there, or typed.

import { review } from "../actions.js";
import { checksum } from "../crypto.js";
import { copyable, h, say } from "../dom.js";
import { exact } from "../money.js";
import { planAllowance } from "../paying.js";
import { KEY_NOTE, Wrong, addressIn, amountIn, entry, fileEntry, keyEntry, keyIn, peerEntry, peerIn, reviewed, stakeNote, whose } from "./entries.js";
import { card, exactly, money } from "./parts.js";

/** The card with the form; it is made once, so that what is typed stays. */
export function registering(app) {
  const { run } = app;
  const { decimals, symbol } = run.asset;
  const key = keyEntry("signing-key");
  const peer = peerEntry("peer");
  const stake = entry("stake-amount", `Stake in ${symbol}`, `at least ${exactly(run, run.params.providerStake)}`,
    { inputmode: "decimal", value: exact(run.params.providerStake, decimals) });
  const payout = entry("payout", "Paid to", "an address; your account if you leave it empty", { placeholder: "your account" });
  const file = fileEntry(app, "registration", "it fills the next two fields", (found) => {
    key.fill(found.signing_key);
    peer.fill(found.peer);
    say("The file is for this run; its two entries are filled in.");
  });
  const more = h("details", { id: "registering-more" }, h("summary", {}, "Be paid to another address"), payout.root);

  async function values() {
    const { account } = app.wallet;
    const found = { account, key: await keyIn(app, key), peer: peerIn(peer), stake: amountIn(app, stake) };
    if (found.stake < run.params.providerStake) throw new Wrong(stake, `This run asks for at least ${exactly(run, run.params.providerStake)}.`);
    return { ...found, payout: payout.text() === "" ? account : await addressIn(payout) };
  }

  const button = h("button", { class: "primary", id: "register-button" }, "Review the registration");
  const form = reviewed(app, button, [file.root, key.root, peer.root, stake.root, more], async () => {
    await review(app, await action(app, await values(), () => { key.fill(""); peer.fill(""); }));
  });
  return card("register", "Lend a computer",
    h("p", {}, "The computer that trains has a key of its own, which signs its work and stays there. Your wallet posts the stake of ", money(run, run.params.providerStake),
      " for it and is paid. Without a wallet, ", h("code", {}, "commonweight provider register"), " does the same there."),
    form);
}

async function action(app, { account, key, peer, payout, stake }, sent) {
  const { run } = app;
  const { registry } = run.addresses;
  const { how, first } = await planAllowance(app, account, registry, stake, "the registry");
  const [signing, paid] = await Promise.all([checksum(key), checksum(payout)]);
  return {
    title: `Register a computer with ${exactly(run, stake)} at stake`,
    rows: [
      ["You stake", exactly(run, stake), stakeNote(run)],
      ["Signing key", copyable(signing, "signing key", true), KEY_NOTE],
      ["Others reach it at", peer],
      ["Paid to", copyable(paid, "payout address", true), whose(payout, account)],
      how,
      ["Then", ["run ", h("code", {}, "commonweight provider start"), " on that computer"]],
    ].filter(Boolean),
    call: { to: registry, name: "ProviderRegistry.register", values: [key, payout, peer, stake], value: run.asset.native ? stake : 0n },
    account, first, sent,
  };
}
