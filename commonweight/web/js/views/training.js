// The training: rounds, who takes part and how they stand, what the exchange costs, and the chain of checkpoints.

import { columns, copyable, h, piecemeal, region, slots, table } from "../dom.js";
import { epochsWithRounds } from "../evidence.js";
import { bytes, exact, group, nats } from "../money.js";
import { lossPoints } from "./overview.js";
import { Newest, runs, spread } from "./newest.js";
import { address, card, lossCurve, pending, relative, span, unavailable, when } from "./parts.js";

const LIVE_MS = 5_000;
const SHOWN = 100;
const MANY = 9;
const PIECE = 20;  // checkpoints that are drawn at once
const READ = 8;  // epochs whose evidence is read until more is asked for, and of theirs at most so many rounds and bytes of records
const ROOM = { rounds: 24, bytes: 4 << 20 };
const STATES = {
  training: ["●", "in the round", "a signer sees it at work now"],
  committed: ["◆", "handed in", "a signer has its work of this round"],
  ready: ["◐", "ready", "it has joined and waits for the next round"],
  counted: ["✓", "counted", "its work counts in the last published round"],
  refused: ["✕", "refused", "its work in the last published round was refused"],
  missing: ["–", "missing", "it was planned in the last published round and delivered nothing"],
  silent: ["○", "not there", "registered, in none of the rounds published last"],
  banned: ["⊘", "banned", "the signers proved an offence; until the time shown"],
  slashed: ["⊗", "slashed", "it has lost its stake"],
  left: ["→", "left", "it has announced that it leaves"],
};

export function training(app) {
  const places = slots("now", "loss", "members", "traffic", "rounds", "lineage");
  const root = h("div", { class: "stackup" }, places.now,
    columns([places.members, places.rounds], [places.loss, places.traffic, places.lineage]));
  const newest = new Newest(app, {
    id: "older", step: READ, epochs: () => withRounds(app), load: (epoch, room) => app.evidence(epoch).rounds(room), room: () => ({ ...ROOM }),
  });
  const live = new Live(app);

  return {
    root,
    update() {
      const { snapshot: s, log, ledger } = app;
      const { read, underWay } = newest.look();
      const told = read.some(({ epoch }) => epoch === withRounds(app)[0]) || underWay.length === 0;  // how members stand is told by the newest
      const looked = told ? read : undefined;
      const status = live.status();
      const { key } = newest;
      region(places.now, [s.nextEpoch, s.time / 10n, ledger.pending?.epoch, app.pendingState(), status, log.of("CreditOracle.RoundAnchored").length], () => now(app, status));
      region(places.loss, lossPoints(app), () => card("loss", "Loss by round", lossCurve(lossPoints(app))));
      const chain = standings(log, status);
      const inForce = [...chain.banned.values()].filter((until) => until > s.time).length;
      region(places.members, [key, chain.events, inForce, status, app.ledgerKey], () => members(app, chain, looked, status));
      region(places.traffic, [key], () => card("traffic", "Traffic saved", published("The traffic", looked, traffic), newest.progress()));
      region(places.rounds, [key], () => card("rounds", "Rounds", published("The rounds", looked, roundTable), newest.button()));
      region(places.lineage, log.of("CheckpointRegistry.CheckpointAttested").length, () => lineage(app));
    },
  };
}

let known = {};

/** The epochs that have rounds; looked up once for what the chain has told. */
function withRounds({ ledger, log }) {
  if (known.ledger !== ledger || known.all !== log.all) {
    const reports = [...ledger.reports].map(([epoch, { report }]) => [epoch, report.round]);
    known = { ledger, all: log.all, epochs: epochsWithRounds(reports, log.of("CreditOracle.RoundAnchored").map((e) => e.args)) };
  }
  return known.epochs;
}

/** What a signer says of itself when this site passes it on; null where it does not. */
class Live {
  #told = null; #asked = 0;

  constructor(app) {
    this.app = app;
  }

  status() {
    const { live } = this.app.config;
    if (live && Date.now() - this.#asked > LIVE_MS) {
      this.#asked = Date.now();
      fetch(live).then((r) => r.json()).catch(() => ({ error: "This site does not answer." })).then((told) => {
        this.#told = told;
        this.app.redraw();
      });
    }
    return live ? this.#told : null;
  }
}

function now(app, status) {
  const { run, snapshot: s, ledger, log } = app;
  const p = run.params;
  const open = s.nextEpoch;
  const end = p.epochStart + (open + 1n) * p.epochLength;
  const anchored = log.of("CreditOracle.RoundAnchored");
  const last = anchored.at(-1)?.args;
  const sentence = s.finishedAt > 0n ? `Training ended ${relative(s.finishedAt, s.time)}.`
    : app.state === "training" ? `Epoch ${open} ${end > s.time ? `ends ${relative(end, s.time)}` : "is over and waits to be closed"}.`
    : app.state === "funded" ? `The first epoch begins ${relative(p.epochStart, s.time)}.` : "Training begins once the goal is met and deposits have ended.";
  return card("now", "Now",
    h("p", {}, sentence, ledger.pending ? ` The report of epoch ${ledger.pending.epoch} ${app.pendingState().replace(/^open/, "is open")}.` : ""),
    h("ul", { class: "figures" },
      figure(last ? String(last.round > 0n ? last.round : last.recordRound) : "none", "round anchored last"),
      figure(ledger.lastFinal === null ? "none" : String(ledger.lastFinal), "last final epoch"),
      figure(group(s.ledger.sum), "final credits"),
      figure(String(s.providerCount), s.providerCount === 1 ? "provider registered" : "providers registered")),
    liveLine(app, status));
}

const figure = (value, label) => h("li", {}, h("strong", {}, value), h("span", {}, label));

function liveLine({ config }, status) {
  if (!config.live) return h("p", { class: "note" }, "What happens within a round is known to the signers only, and this site is not connected to one: below is what they have published.");
  if (status === null) return pending("Asking a signer…");
  if (status.error) return h("p", { class: "note", id: "live-missing" }, `The state within the round cannot be had: ${status.error}`);
  return h("p", { id: "live-now" }, `A signer says: round ${status.round}, ${status.phase}.`);
}

// --- members ----------------------------------------------------------------------------------------------------------

function members(app, told, read, status) {
  const { ledger, snapshot: s } = app;
  const last = read?.find((one) => one.found?.rounds.length > 0)?.found.rounds[0] ?? null;
  const listed = [...ledger.accounts].slice(0, SHOWN);
  const rows = listed.map(([index, account]) => {
    const [state, detail] = standing(index, { told, last, time: s.time });
    const [sign, word] = STATES[state];
    return [`#${index}`, h("span", { class: `member ${state}` }, h("span", { class: "sign", "aria-hidden": "true" }, sign), ` ${word}`, detail && h("span", { class: "note" }, detail)), group(ledger.leaves.get(index)?.C ?? 0n), address(account, "account")];
  });
  return card("members", "Members",
    h("p", { class: "muted" }, memberSource(read, last, status)),
    !last && read?.length > 0 && unavailable(`Who took part in the rounds of epoch ${read[0].epoch}`, read[0].missing ?? new Error("Its evidence names no round.")),
    ledger.accounts.size > SHOWN && h("p", { class: "note" }, `The first ${SHOWN} of ${group(BigInt(ledger.accounts.size))}; any other can be looked up under Providers.`),
    table("Members and their states", ["Index", "State", "Final credits", "Account"], rows, "No provider has registered yet."),
    h("details", { id: "legend", open: true }, h("summary", {}, "What the states mean"),
      h("dl", { class: "states" }, Object.entries(STATES).map(([state, [sign, word, meaning]]) => h("div", {},
        h("dt", { class: `member ${state}` }, h("span", { class: "sign", "aria-hidden": "true" }, sign), ` ${word}`), h("dd", {}, meaning))))));
}

function memberSource(read, last, status) {
  if (status && !status.error) return "From a signer now, the last published round, and the registry on chain.";
  if (last) return `From round ${last.number}, the last that is published, and the registry on chain.`;
  return read === undefined ? "Reading the published evidence…" : "From the registry on chain; no round can be read.";
}

/** What chain and signer say of members, by index. */
function standings(log, status) {
  const banned = new Map();
  const [bans, exits, slashes] = ["Banned", "ExitRequested", "Slashed"].map((name) => log.of(`ProviderRegistry.${name}`));
  for (const { args } of bans) if (args.until > (banned.get(args.index) ?? 0n)) banned.set(args.index, args.until);
  const [left, slashed] = [exits, slashes].map((events) => new Set(events.map(({ args }) => args.index)));
  const events = [bans, exits, slashes].map((all) => `${all.length} ${all.at(-1)?.tx}`);
  return { events, banned, left, slashed, now: new Map(status?.members?.map((member) => [member.index, member.state])) };
}

function standing(index, { told: { banned, left, slashed, now: states }, last, time }) {
  const until = banned.get(index) ?? 0n;
  if (until > time) return ["banned", `until ${when(until)}`];
  if (left.has(index)) return ["left", null];
  if (slashed.has(index)) return ["slashed", null];
  const told = states.get(index);
  if (told && STATES[told] && told !== "silent") return [told, null];
  if (last?.counted.some((m) => m.index === index)) return ["counted", `round ${last.number}`];
  for (const state of ["refused", "missing"]) {
    const found = last?.[state].find((m) => m.index === index);
    if (found) return [state, found.reason.replaceAll("-", " ")];
  }
  return ["silent", until > 0n ? `it was banned until ${when(until)}` : null];
}

// --- traffic and rounds -----------------------------------------------------------------------------------------------

/** What is published of the rounds, with what cannot be had by name. */
function published(what, read, show) {
  if (read === undefined) return pending("Reading the published evidence…");
  if (read.length === 0) return h("p", { class: "empty" }, "Known with the first report that brings a round.");
  const missing = read.filter((one) => one.missing);
  const rounds = read.flatMap(({ epoch, found }) => (found?.rounds ?? []).map((round) => ({ ...round, epoch })));
  return [
    missing.length > 0 && unavailable(`${what} of ${spread(missing.map(({ epoch }) => epoch))}`, missing[0].missing),
    rounds.length > 0 && show(rounds.sort((a, b) => b.number - a.number)),
  ];
}

function traffic(rounds) {
  const known = rounds.map((r) => r.traffic).filter(Boolean);
  if (known.length === 0) return h("p", { class: "empty" }, "No published round had two members or more.");
  const sent = known.reduce((sum, t) => sum + t.sent, 0n);
  const synchronous = known.reduce((sum, t) => sum + t.synchronous, 0n);
  return [
    h("p", { class: "figure" }, `${exact((synchronous * 10n) / sent, 1)} times less`),
    h("p", {}, `In ${known.length === 1 ? "one round" : `the last ${known.length} rounds`} published, members sent ${known[0].star ? "the coordinator" : "each other"} about ${bytes(sent)}. fp32 synchronous data parallel would have sent ${bytes(synchronous)} for the same steps.`),
    h("p", { class: "note" }, known[0].star
      ? "Counted is what members send: the committed payload once a round, or both ways of an all-reduce, 2 (n − 1) / n of four bytes a parameter for each of n members, at every step."
      : `Both count one all-reduce, ${known[0].ways === 2n ? "2 (n − 1) / n" : "its way out only, (n − 1) / n"} of the vector for each of n members: the committed payload once a round, or four bytes a parameter at every step.`,
      " Joining, what signers are sent to check the work, and retransmissions are not in it."),
  ];
}

const roundTable = (rounds) => table("Rounds, newest first", ["Round", "Epoch", "Counted", "Refused", "Missing", "Tokens"], rounds.map((r) => [
  String(r.number), String(r.epoch), who(r.counted), who(r.refused), who(r.missing), group(r.counted.reduce((sum, m) => sum + BigInt(m.tokens), 0n)),
]), "No round is published yet.");

/** Members by reason, in runs: "#0 to #61, #63; #62 (no commitment)". */
function who(list) {
  const byReason = new Map();
  for (const { index, reason = "" } of list) {
    if (!byReason.has(reason)) byReason.set(reason, []);
    byReason.get(reason).push(index);
  }
  const words = ([reason, indices]) => {
    const named = runs(indices).map(([first, last]) => (first === last ? `#${first}` : `#${first} to #${last}`));
    return `${named.join(", ")}${indices.length > MANY ? `: ${group(BigInt(indices.length))} in all` : ""}${reason && ` (${reason.replaceAll("-", " ")})`}`;
  };
  return list.length === 0 ? "–" : [...byReason].map(words).join("; ");
}

// --- checkpoints ------------------------------------------------------------------------------------------------------

function lineage(app) {
  const attested = app.log.of("CheckpointRegistry.CheckpointAttested");
  const { run } = app;
  return card("lineage", "Checkpoints",
    h("p", { class: "muted" }, "Each one names its parent, so the chain cannot be rewritten. ", h("code", {}, "commonweight audit lineage"), " recomputes all of them."),
    attested.length === 0 ? h("p", { class: "empty" }, "No checkpoint is attested yet.") :
      piecemeal("more-checkpoints", h("ol", { class: "lineage" }), [...attested].reverse(), PIECE, ({ args, block }) => {
        const cid = app.ledger.reports.get(Number(args.epoch))?.report.checkpointCid;
        return h("li", {},
          h("p", {}, h("strong", {}, `Round ${args.round}`), ` · epoch ${args.epoch} · ${nats(args.lossMicro)} nats · block ${block}`),
          h("p", {}, "manifest ", copyable(args.manifestSha256, "manifest digest"), cid && [" content ", copyable(cid, "content identifier")]),
          h("p", { class: "note" }, BigInt(args.parent) === 0n ? "the first of this run" : ["parent ", copyable(args.parent, "parent digest")]));
      }),
    h("p", { class: "note" }, `The evidence is kept for ${span(run.params.evidenceRetention)} at least; later a recomputation may not be possible any more.`));
}
