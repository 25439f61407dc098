// A funder's side: put money in, take it back, be paid. Amounts are exact here.

import { columns, copyable, definitions, h, keep, recall, region, visible } from "../dom.js";
import { exact, group, parseAmount, percent, readable } from "../money.js";
import { views } from "../run.js";
import { Loader, card, exactly, pending, relative, when } from "./parts.js";

const TYPED = "commonweight.typed-amount";

export function funding(app) {
  const depositSlot = h("div", { class: "slot" });
  const positionSlot = h("div", { class: "slot" });
  const { form, note, submit, check } = depositForm(app);
  const lookup = lookupForm(app, () => { loader.forget(); update(); });
  const loader = new Loader(() => app.redraw());
  let drawn = null;  // whose position is on the screen
  const root = columns([depositSlot], [positionSlot, lookup.root]);

  function update() {
    const { run, snapshot: s, state, wallet } = app;
    const open = !s.depositsClosed;
    region(depositSlot, [open, state, s.raised, s.time / 60n], () => [open ? depositCard(app, form) : closedCard(app)]);
    submit.textContent = wallet.connected ? "Review the deposit" : "Connect a wallet to deposit";
    note.hidden = false;
    check();
    const owner = lookup.address() ?? wallet.account;
    if (owner === null) {
      drawn = null;
      region(positionSlot, ["none"], () => card("position", "My position", h("p", {}, "Connect a wallet to see what is yours, or look an address up below.")));
      return;
    }
    const found = loader.get(`${owner} ${s.hash}`, () => readPosition(app, owner));
    if (found !== undefined) region(positionSlot, [owner, found instanceof Error ? found.message : found, state, wallet.account, wallet.chainId], () => [position(app, owner, found)]);
    else if (drawn !== owner) region(positionSlot, ["pending", owner], () => [card("position", "My position", pending("Reading the chain…"))]);
    drawn = owner;
  }
  return { root, update };
}

async function readPosition({ run, rpc, snapshot }, owner) {
  const { campaign, distributor } = run.addresses;
  const tag = `0x${snapshot.number.toString(16)}`;
  const [contribution, unspent, claimable, claimed] = await views(rpc, [
    [campaign, "Campaign.contributionOf", [owner]], [campaign, "Campaign.unspentOf", [owner]],
    [distributor, "RevenueDistributor.claimableCapital", [owner]], [distributor, "RevenueDistributor.capitalClaimedBy", [owner]],
  ], tag);
  return { contribution, unspent, claimable, claimed };
}

function position(app, owner, found) {
  if (found instanceof Error) return card("position", "My position", h("p", { class: "problem" }, `It cannot be read: ${found.message}`));
  const { run, snapshot: s, state, wallet, log } = app;
  const { contribution, unspent, claimable, claimed } = found;
  const mine = owner === wallet.account;
  const deposited = log.of("Campaign.Deposited").filter((e) => e.args.funder === owner).reduce((sum, e) => sum + e.args.amount, 0n);
  const refunded = log.of("Campaign.Refunded").filter((e) => e.args.funder === owner).reduce((sum, e) => sum + e.args.amount, 0n);
  const returned = log.of("Campaign.UnspentReturned").filter((e) => e.args.funder === owner).reduce((sum, e) => sum + e.args.amount, 0n);
  const refundable = s.failed ? contribution : 0n;
  const row = (id, label, amount, note, action) => h("div", { class: "due", id },
    h("div", {}, h("span", { class: "label" }, label), h("strong", {}, exactly(run, amount)), note && h("span", { class: "note" }, note)),
    mine && amount > 0n && action && h("button", { type: "button", id: `${id}-button`, class: "primary", onclick: action.act }, action.label));
  return card("position", mine ? "My position" : "Position",
    h("p", { class: "muted" }, h("code", { class: "whole" }, owner)),
    !mine && wallet.connected && h("p", { class: "note", id: "not-mine" }, "This is not the account that is connected. Empty the field below and look up to see yours."),
    definitions([
      ["Deposited", exactly(run, deposited)],
      ["Capital shares", s.failed ? "none: the goal was missed" : group(contribution), s.failed ? null : `one for each smallest unit of ${run.asset.symbol}; ${percent(contribution, s.raised)} of all so far`],
    ]),
    s.failed || refundable > 0n || refunded > 0n
      ? row("refund", "Can be taken back", refundable, refunded > 0n ? `${exactly(run, refunded)} taken back already` : "the goal was missed", { label: "Take it back", act: () => refund(app, refundable) })
      : h("p", { class: "note" }, state === "funding" ? "Until the goal is met nothing is spent; if it is missed by the deadline, all of it can be taken back here." : "The goal was met, so there are no refunds; what is not spent comes back to you here when the run ends."),
    (!s.failed || claimable > 0n) && row("claim", "Revenue to claim", claimable, claimed > 0n ? `${exactly(run, claimed)} claimed so far` : null, { label: "Claim", act: () => claim(app, owner, claimable) }),
    (!s.failed || unspent > 0n) && row("unspent", "Unspent money to take back", unspent, returned > 0n ? `${exactly(run, returned)} taken back already` : s.ended ? null : "known when the run has ended or missed a milestone", { label: "Take it back", act: () => takeUnspent(app, unspent) }));
}

/** What signing needs; it comes after the first paint, with the visitor's side. Null where it does not come. */
const signing = (app) => app.part("signing", async () => {
  const [actions, paying, errors] = await Promise.all([import("../actions.js"), import("../paying.js"), import("../errors.js"), app.attached()]);
  return { ...actions, ...paying, ...errors };
});

const act = async (app, action) => (await signing(app))?.review(app, action);
const refund = (app, amount) => act(app, {
  title: `Take back ${exactly(app.run, amount)}`,
  rows: [["You get", exactly(app.run, amount)], ["Why", "the goal was missed; this is your whole contribution, to the last unit"]],
  call: { to: app.run.campaign, name: "Campaign.refund", values: [] },
});
const claim = (app, owner, amount) => act(app, {
  title: `Claim ${exactly(app.run, amount)}`,
  rows: [["You get", `${exactly(app.run, amount)} or more`, "what comes in until it is mined is paid too"], ["Your shares", "stay yours and go on earning"]],
  call: { to: app.run.addresses.distributor, name: "RevenueDistributor.claimCapital", values: [owner] },
});
const takeUnspent = (app, amount) => act(app, {
  title: `Take back ${exactly(app.run, amount)} unspent`,
  rows: [["You get", exactly(app.run, amount)], ["Why", "the escrow has ended; this is your part of what was not spent"], ["Your shares", "stay yours and go on earning"]],
  call: { to: app.run.campaign, name: "Campaign.claimUnspent", values: [] },
});

// --- deposit ----------------------------------------------------------------------------------------------------------

function depositCard(app, form) {
  const { run, snapshot: s } = app;
  const room = run.params.cap - s.raised;
  return card("deposit", "Put money in",
    h("p", {}, `Deposits are open ${relative(run.params.depositDeadline, s.time).replace("in ", "for another ")}, until ${when(run.params.depositDeadline)}. There is room for `, h("strong", {}, exactly(run, room)), "."),
    form,
    h("details", { id: "what-happens" }, h("summary", {}, "What happens to this money?"),
      h("ul", { class: "plain" },
        h("li", {}, `If less than ${exactly(run, run.params.goal)} come together by the deadline, you take back exactly what you put in.`),
        h("li", {}, "If the goal is met, it cannot be taken back. It pays verified training work, step by step as milestones are met, and what is not spent comes back to you."),
        h("li", {}, "In return you own capital shares: your part of the funders' share of everything that the model earns, for as long as it earns."),
        h("li", {}, "It can be lost: the model may earn nothing. The contracts have had no outside audit."))));
}

function closedCard(app) {
  const { run, snapshot: s, state } = app;
  return card("deposit", "Put money in",
    h("p", {}, state === "failed" ? "Deposits have ended and the goal was missed. If you put money in, take it back on this page." :
      `Deposits have ended: ${readable(s.raised, run.asset.decimals)} ${run.asset.symbol} came together. Nothing can be added.`));
}

function depositForm(app) {
  const { run } = app;
  const input = h("input", {
    id: "amount", name: "amount", inputmode: "decimal", autocomplete: "off", placeholder: "0.0", "aria-describedby": "amount-note",
    value: recall("sessionStorage", TYPED) ?? "",
  });
  const note = h("p", { class: "hint", id: "amount-note", "aria-live": "polite" });
  const submit = h("button", { class: "primary", id: "deposit-button" }, "Connect a wallet to deposit");
  const form = h("form", { novalidate: true },
    h("div", { class: "field" }, h("label", { for: "amount" }, `Amount in ${run.asset.symbol}`), input, note),
    h("div", { class: "buttons" }, submit));

  let refused = "";  // what the last attempt was told, until something else is typed
  function problemOf() {
    if (input.value.trim() === "") return refused;
    try {
      const amount = parseAmount(input.value, run.asset.decimals);
      const room = run.params.cap - app.snapshot.raised;
      return amount > room ? `More than the room that is left: ${exactly(run, room)}.` : refused;
    } catch (error) { return error.message; }
  }
  function check() {
    const text = problemOf();
    if (note.textContent !== text) note.textContent = text;
    input.setAttribute("aria-invalid", text === "" ? "false" : "true");
  }
  input.addEventListener("input", () => { refused = ""; keep("sessionStorage", TYPED, input.value); check(); });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const signs = await signing(app);
    if (signs === null) return;
    const { explain, planDeposit, review } = signs;
    if (!app.wallet.connected && !(await app.connect())) return;
    refused = input.value.trim() === "" ? "Write an amount first." : "";
    check();
    if (note.textContent !== "") return input.focus();
    const amount = parseAmount(input.value, run.asset.decimals);
    try {
      await review(app, await depositAction(app, planDeposit, amount, () => { input.value = ""; keep("sessionStorage", TYPED, null); }));
    } catch (error) {
      const { title, why } = await explain(error, run);
      refused = visible(`${title}. ${why}`);
      check();
    }
  });
  return { form, note, submit, check };
}

async function depositAction(app, planDeposit, amount, sent) {
  const { run, snapshot: s } = app;
  const { how, ...plan } = await planDeposit(app, amount);
  const goal = run.params.goal;
  return {
    title: `Deposit ${exactly(run, amount)}`,
    rows: [
      ["You pay", exactly(run, amount)],
      ["You get", `${group(amount)} capital shares`, `one for each smallest unit; ${percent(amount, s.raised + amount)} of all shares as of now, less as others join`],
      ...(s.raised >= goal ? [["Taking it back", "is not possible, but for your part of what is not spent", "the goal is met already"]] : [
        ["If the goal is missed", `you take back exactly ${exactly(run, amount)} after ${when(run.params.depositDeadline)}`],
        ["If it is met", "it cannot be taken back, but for your part of what is not spent", `missing to it now: ${exactly(run, goal - s.raised)}`],
      ]),
      !run.asset.native && ["Token", copyable(run.asset.address, "token contract", true)],
      how,
    ].filter(Boolean),
    ...plan, sent,
  };
}

function lookupForm(app, changed) {
  let chosen = null;
  const input = h("input", { id: "lookup", name: "lookup", autocomplete: "off", spellcheck: "false", placeholder: "0x…", "aria-describedby": "lookup-note" });
  const note = h("p", { class: "hint", role: "status", id: "lookup-note" });
  const root = h("form", { class: "lookup", onsubmit: (event) => {
    event.preventDefault();
    const text = input.value.trim();
    chosen = /^0x[0-9a-fA-F]{40}$/.test(text) ? text.toLowerCase() : null;
    note.textContent = text === "" || chosen ? "" : "An address is 0x and 40 hex digits.";
    input.setAttribute("aria-invalid", note.textContent === "" ? "false" : "true");
    changed();
  } },
    h("div", { class: "field" }, h("label", { for: "lookup" }, "Look up another address"), h("div", { class: "row" }, input, h("button", {}, "Look up")), note));
  return { root, address: () => chosen };
}
