// A provider's side: credits with the reasons, the stake, the claim; and the leaderboard.

import { review } from "../actions.js";
import { ethers } from "../crypto.js";
import { badge, definitions, h, region, table } from "../dom.js";
import { hasher, makeTree } from "../ledger.js";
import { group, percent } from "../money.js";
import { views } from "../run.js";
import { Loader, address, card, exactly, money, pending, unavailable, when } from "./parts.js";
import { registering } from "./registering.js";
import { Rounds } from "./rounds.js";

const SHOWN = 100;

export function providers(app) {
  const mineSlot = h("div", { class: "slot" });
  const boardSlot = h("div", { class: "slot" });
  const newSlot = h("div", { class: "slot" });
  const changeSlot = h("div", { class: "slot" });
  const lookup = lookupForm(() => { loader.forget(); app.redraw(); });
  const root = h("div", { class: "stackup" }, mineSlot, changeSlot, lookup.root, newSlot, boardSlot);
  const loader = new Loader(() => app.redraw());
  let drawn = null;  // whose work is on the screen
  const rounds = new Rounds(app);
  const form = registering(app);
  const changes = new Loader(() => app.redraw());  // most visitors are no providers

  function drawChanges(own) {
    const found = own === null ? undefined : changes.get("changing", () => import("./changing.js"));
    region(changeSlot, [found && own, found instanceof Error && found.message],
      () => [found instanceof Error ? unavailable("What can be changed", found) : found?.changing(app, own)]);
  }

  return {
    root,
    update() {
      const { ledger, snapshot: s, wallet } = app;
      region(boardSlot, [s.ledger.sum, ledger.accounts.size, ledger.pending?.report.digest], () => leaderboard(app));
      const own = wallet.connected ? indexOf(app, wallet.account) : null;
      region(newSlot, [own === null && s.finishedAt === 0n && !s.failed], () => [own === null && s.finishedAt === 0n && !s.failed && form]);
      drawChanges(own);
      const index = indexOf(app, lookup.wanted() ?? wallet.account);
      lookup.mark(lookup.wanted() !== null && index === null);
      if (index === null) {
        drawn = null;
        region(mineSlot, ["none", wallet.account, lookup.wanted()], () => nobody(app, lookup.wanted()));
        return;
      }
      const found = loader.get(`${index} ${s.hash}`, () => readProvider(app, index));
      if (found === undefined) {
        if (drawn !== index) region(mineSlot, ["pending", index], () => [card("mine", "My work", pending("Reading the chain…"))]);
        drawn = index;
        return;
      }
      drawn = index;
      region(mineSlot, [index, found instanceof Error ? found.message : found, rounds.of(index).key, wallet.account, s.wagesDue, ledger.pending?.report.digest, app.pendingState(), s.ledger.sum],
        () => mine(app, index, found, rounds));
    },
  };
}

/** A provider's index from its account, or from an index as people type it; null where there is none. */
function indexOf({ ledger }, wanted) {
  if (wanted === null) return null;
  const text = wanted.replace(/^#/, "");
  if (/^\d{1,9}$/.test(text)) return ledger.accounts.has(Number(text)) ? Number(text) : null;
  for (const [index, account] of ledger.accounts) if (account === wanted.toLowerCase()) return index;
  return null;
}

function nobody({ wallet }, wanted) {
  const text = wanted ? `${wanted} is no provider of this run.`
    : wallet.connected ? "Your account is no provider of this run." : "Connect a provider's wallet to see its work, or look a provider up below.";
  return card("mine", "My work", h("p", { id: "nobody" }, text));
}

async function readProvider({ run, rpc, snapshot, ledger }, index) {
  const { registry, distributor } = run.addresses;
  const leaf = ledger.leaves.get(index);
  const calls = [
    [registry, "ProviderRegistry.providerAt", [index]],
    [distributor, "RevenueDistributor.claimedBy", [index]],
    [distributor, "RevenueDistributor.debtOf", [index]],
  ];
  if (leaf) calls.push([distributor, "RevenueDistributor.claimableCompute", [BigInt(ledger.lastFinal), leaf]]);
  const [provider, claimed, debt, claimable = 0n] = await views(rpc, calls, `0x${snapshot.number.toString(16)}`, { settle: true });
  if (provider === null) throw new Error(`There is no provider ${index}.`);
  return { provider, claimed, debt, claimable };
}

function mine(app, index, found, rounds) {
  if (found instanceof Error) return card("mine", "My work", h("p", { class: "problem" }, `It cannot be read: ${found.message}`));
  const { run, ledger, snapshot: s, wallet } = app;
  const { provider, claimed, debt, claimable } = found;
  const own = provider.account === wallet.account;
  const leaf = ledger.leaves.get(index);
  const state = provider.bannedUntil > s.time ? badge("bad", `banned until ${when(provider.bannedUntil)}`)
    : provider.exitAt > 0n ? badge("open", "leaving") : badge("good", "registered");
  return card("mine", own ? `My work, provider #${index}` : `Provider #${index}`,
    definitions([
      ["State", state],
      ["Account", address(provider.account, "account")],
      ["Paid to", address(provider.payout, "payout address")],
      ["Signing key", address(provider.signingKey, "signing key")],
      ["Reached at", provider.peer || "no address"],
      ["Stake", exactly(run, provider.stake), "lost if its credits are doubted and convicted; paid back a dispute period after the last credited epoch"],
      ["Final credits", group(leaf?.C ?? 0n), leaf ? `${percent(leaf.C, s.ledger.sum)} of all` : null],
      ledger.pending?.credits?.has(index) && ["Pending credits", group(ledger.pending.credits.get(index)), `epoch ${ledger.pending.epoch}, ${app.pendingState()}`],
      ["Claimed so far", exactly(run, claimed)],
      debt > 0n && ["Owed to the funders", exactly(run, debt), "from a conviction; claims pay it first"],
    ], "tiles"),
    h("div", { class: "due", id: "compute" },
      h("div", {}, h("span", { class: "label" }, "Wages and revenue to claim"), h("strong", {}, claimable === null ? "not to be told now" : exactly(run, claimable)),
        h("span", { class: "note" }, "paid to the payout address, whoever sends the transaction")),
      wallet.connected && claimable > 0n && h("button", { type: "button", id: "compute-button", class: "primary", onclick: () => claim(app, index, claimable, provider.payout) }, "Claim")),
    s.wagesDue > 0n && h("div", { class: "due", id: "wages" },
      h("div", {}, h("span", { class: "label" }, "Wages held back, of all providers"), h("strong", {}, exactly(run, s.wagesDue)),
        h("span", { class: "note" }, `${run.asset.symbol} did not let them through when their epoch became final. Until they are handed over no provider can claim; anyone can have that tried again.`)),
      wallet.connected && h("button", { type: "button", id: "wages-button", class: "primary", onclick: () => handOver(app) }, "Hand them over")),
    own && leaving(app, index, provider),
    h("h3", {}, "Credits by epoch"),
    epochsTable(app, index),
    h("h3", {}, "Rounds, and why"),
    rounds.draw());
}

function epochsTable({ run, ledger, pendingState }, index) {
  const rows = [];
  if (ledger.pending?.credits?.has(index)) {
    const credits = ledger.pending.credits.get(index);
    rows.push([`${ledger.pending.epoch}`, badge("open", pendingState()), group(credits), money(run, (credits * ledger.pending.wage) >> 64n)]);
  }
  for (const [epoch, entry] of [...ledger.epochs].reverse()) {
    if (!entry.credits.has(index)) continue;
    const credits = entry.credits.get(index);
    rows.push([`${epoch}`, badge("good", "final"), group(credits), money(run, (credits * entry.wage) >> 64n)]);
  }
  return table("Credits by epoch", ["Epoch", "State", "Credits", "Wages"], rows, "No report lists this provider yet.");
}

/** The proof is made here from the chain's events, and compared with the root on chain before the wallet is asked. */
async function claim(app, index, amount, payout) {
  const { ledger, run } = app;
  const entry = ledger.epochs.get(ledger.lastFinal);
  const leaf = ledger.leaves.get(index);
  const { keccak256 } = await ethers();
  const tree = makeTree(ledger.leaves, entry.depth, hasher(keccak256));
  const genuine = entry.wellFormed && tree.root.hash === entry.root && tree.root.sum === entry.sum;
  await review(app, {
    title: `Claim ${exactly(run, amount)} for provider #${index}`,
    rows: [
      ["You get", `${exactly(run, amount)} or more`, "what comes in until it is mined is paid too"],
      ["Paid to", address(payout, "payout address")],
      ["For", `${group(leaf.C)} credits, all final epochs up to ${ledger.lastFinal}`],
      ["Proof", genuine ? "made here from the chain's events; it leads to the root on chain" : "the lists on chain do not lead to the final root: the claim will be refused"],
    ],
    call: { to: run.addresses.distributor, name: "RevenueDistributor.claimCompute", values: [BigInt(ledger.lastFinal), leaf, tree.proof(index)] },
  });
}

/** Wages that the asset has held back, to the contract that pays claims. */
const handOver = (app) => review(app, {
  title: `Hand over ${exactly(app.run, app.snapshot.wagesDue)} of wages`,
  rows: [["What it does", "the campaign pays them to the contract from which providers claim", "you get nothing by it but what is yours of them, by a claim of its own"]],
  call: { to: app.run.campaign, name: "Campaign.payWages", values: [] },
});

/** What an account can do about its own stake: leave, and later take it back. */
function leaving(app, index, provider) {
  const stake = exactly(app.run, provider.stake);
  const row = (id, label, note, what, kind, act) => h("div", { class: "due", id },
    h("div", {}, h("span", { class: "label" }, label), h("strong", {}, stake), h("span", { class: "note" }, note)),
    h("button", { type: "button", id: `${id}-button`, class: kind, onclick: act }, what));
  if (provider.exitAt === 0n) {
    return row("leave", "Stake at work", "to take it back, leave the run first", "Leave the run", "quiet", () => leave(app, index, stake));
  }
  return provider.stake > 0n && row("stake", "Stake to take back", "a dispute period after an epoch that ends once you have left is final, or after the run's last", "Take it back", "primary",
    () => takeStake(app, provider));
}

const leave = (app, index, stake) => review(app, {
  title: `Leave the run as provider #${index}`,
  rows: [
    ["What ends", "you are planned for no further round; this cannot be undone"],
    ["Your stake", `${stake}: locked until you take it back, and lost if your credits are convicted`],
    ["Your credits", "stay yours and go on earning"],
  ],
  call: { to: app.run.addresses.registry, name: "ProviderRegistry.exit", values: [] },
});

/** The reason given is the final epoch, not before the exit, that has been final for longest; else that of the exit, so that the contract explains. */
function takeStake(app, { exitAt, stake }) {
  const { run, ledger } = app;
  const { epochStart, epochLength } = run.params;
  const left = exitAt > epochStart ? (exitAt - epochStart) / epochLength : 0n;
  const settled = [...ledger.epochs].filter(([epoch, { state }]) => state === "final" && BigInt(epoch) >= left).map(([epoch]) => epoch);
  return review(app, {
    title: `Take back the stake of ${exactly(run, stake)}`,
    rows: [["You get", exactly(run, stake)], ["Your credits", "stay yours and go on earning"]],
    call: { to: run.addresses.registry, name: "ProviderRegistry.withdrawStake", values: [settled.length > 0 ? BigInt(Math.min(...settled)) : left] },
  });
}

// --- leaderboard ------------------------------------------------------------------------------------------------------

function leaderboard(app) {
  const { ledger, snapshot: s } = app;
  const rows = [...ledger.accounts].map(([index, account]) => ({ index, account, final: ledger.leaves.get(index)?.C ?? 0n, pending: ledger.pending?.credits?.get(index) ?? 0n }))
    .sort((a, b) => (a.final === b.final ? a.index - b.index : a.final > b.final ? -1 : 1));
  return card("leaderboard", "Leaderboard",
    h("p", { class: "muted" }, "By final credits, all epochs together. A credit is a thousand million training FLOPs that the signers verified."),
    rows.length > SHOWN && h("p", { class: "note" }, `The first ${SHOWN} of ${group(BigInt(rows.length))}; look any other up above.`),
    table("Leaderboard", ["Place", "Provider", "Final credits", "Part", "Not final yet", "Account"], rows.slice(0, SHOWN).map((r, place) => [
      `${place + 1}`, `#${r.index}`, group(r.final), h("span", { class: "money" }, percent(r.final, s.ledger.sum)), r.pending > 0n ? `+ ${group(r.pending)}` : "–", address(r.account, "account"),
    ]), "No provider has registered yet."));
}

function lookupForm(changed) {
  let chosen = null;
  const input = h("input", { id: "provider-lookup", name: "provider", autocomplete: "off", spellcheck: "false", placeholder: "#0 or 0x…", "aria-describedby": "nobody" });
  const root = h("form", { class: "lookup", onsubmit: (event) => {
    event.preventDefault();
    chosen = input.value.trim() || null;
    changed();
  } }, h("div", { class: "field" }, h("label", { for: "provider-lookup" }, "Look up a provider by index or account"),
    h("div", { class: "row" }, input, h("button", {}, "Look up"))));
  const mark = (wrong) => input.setAttribute("aria-invalid", wrong ? "true" : "false");
  return { root, mark, wanted: () => chosen };
}
