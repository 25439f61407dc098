// The first thing people see: where the run stands, where the money is and what may happen to it, in plain words.

import { badge, columns, copyable, definitions, h, region, slots, table } from "../dom.js";
import { bps, exact, group, nats, percent, readable, tenths } from "../money.js";
import { breakdown, card, lossCurve, money, relative, span, when } from "./parts.js";

export const ANY_LOSS = (1n << 64n) - 1n;

export function overview(app) {
  const places = slots("progress", "escrow", "uses", "split", "loss", "revenue", "doubts", "terms");
  const root = h("div", { class: "stackup" }, places.progress,
    columns([places.escrow, places.uses, places.split], [places.loss, places.revenue, places.doubts]), places.terms);
  return {
    root,
    update() {
      const { run, snapshot: s, state, log } = app;
      const backers = new Set(log.of("Campaign.Deposited").map((e) => e.args.funder)).size;
      const minute = s.time / 60n;
      region(places.progress, [s.raised, state, backers, minute], () => progress(app, backers));
      region(places.escrow, [s.raised, s.released, s.reserved, s.unlockedEscrow, s.returnable, takenBack(log), state], () => escrow(app));
      region(places.uses, [s.milestonesMet, log.of("Campaign.MilestoneMissed").length], () => uses(app));
      region(places.split, [run.campaign], () => split(app));
      region(places.loss, lossPoints(app), () => card("loss", "Does the model get better?", lossCurve(lossPoints(app))));
      region(places.revenue, [s.capitalReceived, s.computeReceived, s.capitalPaid, s.computePaid, s.pendingCompute], () => revenue(app));
      region(places.doubts, [doubts(app).length, s.openGames, app.pendingState()], () => challenges(app));
      region(places.terms, [run.campaign], () => terms(app));
    },
  };
}

/** Attested losses in order of rounds: final ones from the checkpoint registry, and the report that is not final yet. */
export function lossPoints({ log, ledger }) {
  const points = log.of("CheckpointRegistry.CheckpointAttested").map(({ args }) => ({ round: args.round, epoch: args.epoch, loss: args.lossMicro, final: true }));
  const report = ledger.pending?.report.report;
  if (report) points.push({ round: report.round, epoch: report.epoch, loss: report.lossMicro, final: false });
  return points;
}

function progress(app, backers) {
  const { run, snapshot: s, state } = app;
  const { goal, cap, depositDeadline: deadline } = run.params;
  const ahead = deadline > s.time;
  const sentence = {
    funding: `Missing to the goal: ${readable(goal > s.raised ? goal - s.raised : 0n, run.asset.decimals)} ${run.asset.symbol}. If it is not reached by the deadline, everyone takes back exactly what they put in.`,
    "goal-met": "The goal is met, so the model will be trained. Deposits go on until the cap or the deadline.",
    failed: "The goal was not reached. Everyone who put money in takes back exactly that amount, at any time.",
    funded: `Deposits have ended. Training begins ${relative(run.params.epochStart, s.time)}.`,
    training: "Deposits have ended. The money now pays for verified work only, as far as milestones have unlocked it.",
    trained: "Training is over. What was not spent goes back to the funders, and the model's revenue is shared for as long as it earns.",
  }[state];
  const whole = cap > 0n ? cap : s.raised;
  return card("progress", "Funding",
    h("p", { class: "figure" }, money(run, s.raised), h("span", { class: "of" }, ` raised of a goal of ${readable(goal, run.asset.decimals)} ${run.asset.symbol}`)),
    h("div", { class: "meter", role: "img", "aria-label": `${percent(s.raised, goal)} of the goal, ${percent(s.raised, cap)} of the cap` },
      h("span", { class: "done", "data-tenths": tenths(s.raised, whole) }), h("span", { class: "goal", "data-at": tenths(goal, whole) })),
    h("p", {}, sentence),
    h("ul", { class: "figures" },
      figure(percent(s.raised, goal), "of the goal"),
      figure(`${readable(cap, run.asset.decimals)} ${run.asset.symbol}`, "cap: never more than this"),
      figure(group(BigInt(backers)), backers === 1 ? "backer" : "backers"),
      figure(ahead && !s.depositsClosed ? relative(deadline, s.time) : "ended", `deposits ${ahead && !s.depositsClosed ? "end" : "until"} ${when(deadline)}`)),
    ["funding", "goal-met", "failed"].includes(state) && h("p", {}, h("a", { class: "button primary", href: "#funding" }, state === "failed" ? "Take your money back" : "Put money in")));
}

const figure = (value, label) => h("li", {}, h("strong", {}, value), h("span", {}, label));

/** What funders have taken out: refunds of a failed campaign, or the unspent of one that has ended. */
const takenBack = (log) => [...log.of("Campaign.Refunded"), ...log.of("Campaign.UnspentReturned")].reduce((sum, e) => sum + e.args.amount, 0n);

function escrow(app) {
  const { run, snapshot: s, state, log } = app;
  const taken = takenBack(log);
  if (s.raised === 0n) return card("escrow", "Where the money is", h("p", { class: "empty" }, "Nobody has put money in yet."));
  if (["funding", "goal-met", "failed"].includes(state)) {
    return card("escrow", "Where the money is",
      breakdown(run, "The escrow", state === "failed"
        ? [["returning", "to be taken back by the funders", s.raised - taken], ["returned", "taken back already", taken]]
        : [["locked", "held by the campaign contract, spent on nothing yet", s.raised]], s.raised));
  }
  const returnable = s.ended ? s.returnable : 0n;
  const locked = s.raised - s.released - s.reserved - s.unlockedEscrow - returnable;
  return card("escrow", "Where the money is",
    breakdown(run, "The escrow", [
      ["spent", "earned by finished, verified work", s.released, "wages of final epochs and the signers' fee on them"],
      ["reserved", "reserved for the open epoch", s.reserved],
      ["free", "unlocked for coming work", s.unlockedEscrow],
      ["locked", "locked until milestones are met", locked > 0n ? locked : 0n],
      ...(s.ended ? [["returning", "to be taken back by the funders", returnable - taken, "each takes out its own share"], ["returned", "taken back already", taken]] : []),
    ], s.raised));
}

function uses(app) {
  const { run, snapshot: s, log } = app;
  const p = run.params;
  const missed = new Set(log.of("Campaign.MilestoneMissed").map((e) => Number(e.args.milestone)));
  const rows = p.milestones.map((milestone, place) => {
    const met = (s.milestonesMet >> BigInt(place)) & 1n;
    const state = met ? badge("good", "met") : missed.has(place) || s.ended ? badge("bad", "missed") : badge("open", "open");
    return [`${place + 1}`, bps(milestone.trancheBps), condition(milestone), state];
  });
  return card("uses", "What the money may be used for",
    h("ul", { class: "plain" },
      h("li", {}, "Wages for training work that the signers verified: at most ", h("strong", {}, `${exact(p.wagePerCredit, run.asset.decimals)} ${run.asset.symbol}`),
        " for each credit. A credit is a thousand million training FLOPs."),
      h("li", {}, "The signers' fee: ", h("strong", {}, bps(p.oracleBps)), " on top of these wages."),
      h("li", {}, "Nothing else. The creator of the run cannot touch it; what is not spent goes back to the funders, each in proportion.")),
    h("p", {}, "The money is unlocked in steps:"),
    table("Milestones", ["Step", "Unlocks", "When", "State"], rows, "This run has no milestones."));
}

export function condition({ deadlineEpoch, minCredits, maxLossMicro }) {
  if (minCredits === 0n && maxLossMicro === ANY_LOSS) return "from the start";
  const parts = [
    minCredits > 0n && `${group(minCredits)} ${minCredits === 1n ? "credit is" : "credits are"} final`,
    maxLossMicro < ANY_LOSS && `the held-out loss is at most ${nats(maxLossMicro)} nats`,
  ].filter(Boolean);
  return `${parts.join(" and ")}, by epoch ${deadlineEpoch}`;
}

function split(app) {
  const p = app.run.params;
  const rest = 10_000n - BigInt(p.serverBps);
  const funders = (rest * BigInt(p.capitalBps)) / 10_000n;
  const pieces = [["capital", "funders", funders], ["compute", "providers of computing", rest - funders], ["server", "whoever serves the model", BigInt(p.serverBps)]];
  return card("split", "Who is paid when the model is used",
    h("p", {}, "Of every 100 that a user pays for answers:"),
    h("div", { class: "stack tall", role: "img", "aria-label": pieces.map(([, name, part]) => `${name} ${exact(part, 2)}`).join(", ") },
      pieces.map(([kind, , part]) => h("span", { class: kind, "data-tenths": Number(part / 10n) }))),
    h("ul", { class: "legend" }, pieces.map(([kind, name, part]) => h("li", {}, h("span", { class: `swatch ${kind}`, "aria-hidden": "true" }),
      h("span", { class: "name" }, name), h("span", { class: "amount" }, exact(part, 2))))),
    h("p", { class: "muted" }, "Funders share by what they put in, providers by their verified credits. The contract pays; no one can change the split."));
}

function revenue(app) {
  const { run, snapshot: s, log } = app;
  const payments = log.of("RevenueDistributor.RevenueReceived");
  const sum = (key) => payments.reduce((total, e) => total + e.args[key], 0n);
  const wages = log.of("RevenueDistributor.WagesReceived").reduce((total, e) => total + e.args.amount, 0n);
  const other = log.of("RevenueDistributor.CapitalReceived").reduce((total, e) => total + e.args.amount, 0n);
  return card("revenue", "What the model has earned",
    h("p", { class: "figure" }, money(run, sum("amount"))),
    h("p", { class: "muted" }, payments.length === 0 ? "Nobody has paid for answers yet." : `paid in by users in ${group(BigInt(payments.length))} payment${payments.length === 1 ? "" : "s"}, after the server's cut`),
    definitions([
      ["to the funders", money(run, sum("toCapital")), `${readable(s.capitalPaid, run.asset.decimals)} taken out so far`],
      other > 0n && ["slashed stakes and bonds, to the funders", money(run, other)],
      ["to the providers", money(run, sum("toCompute")), s.pendingCompute > 0n ? `of which ${readable(s.pendingCompute, run.asset.decimals)} wait for the next closing` : null],
      ["wages to the providers", money(run, wages), `${readable(s.computePaid, run.asset.decimals)} taken out by providers so far`],
    ]));
}

const DOUBTS = [
  "Disputes.GameOpened", "Disputes.CreditsChallenged", "Disputes.WrongLeafProved", "Disputes.BadListProved", "Disputes.FraudByDefault",
  "Disputes.Convicted", "Disputes.ReportUnanswered", "CreditOracle.BondSlashed", "ProviderRegistry.Slashed",
];

export const doubts = ({ log, ledger }) => [
  ...log.all.filter((e) => DOUBTS.includes(e.name)),
  ...log.of("CreditOracle.EpochVoided").filter((e) => ledger.epochs.get(Number(e.args.epoch))),
].sort((a, b) => (a.block === b.block ? b.index - a.index : Number(b.block - a.block)));

function challenges(app) {
  const { run, snapshot: s, ledger } = app;
  const found = doubts(app);
  const window = ledger.pending && (app.pendingState() === "open to challenge" ? `Epoch ${ledger.pending.epoch} has a report that anyone can still challenge.`
    : `The report of epoch ${ledger.pending.epoch} can be challenged no more, and waits to be made final: a signer does it as a rule, and anyone can.`);
  return card("challenges", "Challenges",
    h("p", {}, window || "No report is open to challenge at present.",
      ` A report can be made final ${span(run.params.challengeWindow)} after it was submitted, unless a false figure in it is proved first.`),
    h("p", { class: found.length ? "" : "empty" }, found.length === 0 ? "Nothing has been challenged in this run." :
      [`${found.length} event${found.length === 1 ? "" : "s"} so far, ${s.openGames} game${s.openGames === 1n ? "" : "s"} open. `, h("a", { href: "#audit" }, "See them all")]));
}

function terms(app) {
  const { run, snapshot: s } = app;
  const p = run.params;
  return card("terms", "The terms, fixed for good", definitions([
    run.asset.native ? ["Money", "ETH, the chain's own coin"] : ["Money", run.asset.symbol, copyable(run.asset.address, "token contract")],
    ["Signers", `${s.quorum} of ${s.signers.length} must agree on a report`],
    ["Epochs", `0 to ${p.lastEpoch}, ${span(p.epochLength)} each`, `and ${p.tailEpochs} more for late work`],
    ["Credits an epoch", `at most ${group(p.maxCreditsPerEpoch)}`],
    ["Provider's stake", money(run, p.providerStake)],
    ["Signer's bond", money(run, p.signerBond)],
    ["Licence of the data", p.dataLicence || "none named"],
    ["Licence of the weights", p.weightsLicence || "none named"],
    ["Evidence is kept for", span(p.evidenceRetention)],
  ], "tiles"));
}
