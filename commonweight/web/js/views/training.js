// The training: rounds, who takes part and how they stand, what the exchange costs, and the chain of checkpoints.

import { lossCurve } from "../chart.js";
import { columns, copyable, h, region, slots, table } from "../dom.js";
import { bytes, exact, group, nats } from "../money.js";
import { relative, span, when } from "../time.js";
import { lossPoints } from "./overview.js";
import { Loader, address, card, pending, unavailable } from "./parts.js";

const LIVE_MS = 5_000;
const STATES = {
  training: ["●", "in the round", "a signer sees it at work now"],
  committed: ["◆", "handed in", "a signer has its work of this round"],
  ready: ["◐", "ready", "it has joined and waits for the next round"],
  counted: ["✓", "counted", "its work counts in the last published round"],
  refused: ["✕", "refused", "its work in the last published round was refused"],
  missing: ["–", "missing", "it was planned in the last published round and delivered nothing"],
  silent: ["○", "not there", "registered, in none of the rounds published last"],
  banned: ["⊘", "banned", "the signers proved an offence, or it was too slow; until the time shown"],
  slashed: ["⊗", "slashed", "it has lost its stake"],
  left: ["→", "left", "it has announced that it leaves"],
};

export function training(app) {
  const places = slots("now", "loss", "members", "traffic", "rounds", "lineage");
  const root = h("div", { class: "stackup" }, places.now,
    columns([places.members, places.rounds], [places.loss, places.traffic, places.lineage]));
  const loader = new Loader(() => app.redraw());
  const live = new Live(app);

  return {
    root,
    update() {
      const { snapshot: s, log, ledger } = app;
      const epoch = newest(ledger);
      const evidence = epoch === null ? null : app.evidence(epoch);
      const rounds = evidence === null ? null : loader.get(ledger.reports.get(epoch).digest, () => evidence.rounds());
      const status = live.status();
      const key = rounds instanceof Error ? rounds.message : rounds?.map((r) => r.number) ?? null;
      region(places.now, [s.nextEpoch, s.time / 10n, ledger.pending?.epoch, status, log.of("CreditOracle.RoundAnchored").length], () => now(app, status));
      region(places.loss, lossPoints(app), () => card("loss", "Loss by round", lossCurve(lossPoints(app))));
      region(places.members, [key, s.time / 10n, status, log.all.length], () => members(app, epoch, rounds, status));
      region(places.traffic, [key, epoch], () => traffic(app, epoch, rounds));
      region(places.rounds, [key, epoch], () => roundTable(app, epoch, rounds));
      region(places.lineage, log.of("CheckpointRegistry.CheckpointAttested").length, () => lineage(app));
    },
  };
}

/** The epoch whose report is the newest: pending or final. Null before the first. */
export const newest = (ledger) => (ledger.reports.size === 0 ? null : Math.max(...ledger.reports.keys()));

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
    h("p", {}, sentence, ledger.pending ? ` The report of epoch ${ledger.pending.epoch} is open to challenge.` : ""),
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

function members(app, epoch, rounds, status) {
  const { ledger, log, snapshot: s } = app;
  const last = Array.isArray(rounds) ? rounds.at(-1) : null;
  const rows = [...ledger.accounts].map(([index, account]) => {
    const [state, detail] = standing(index, { log, last, status, time: s.time });
    const [sign, word] = STATES[state];
    return [`#${index}`, h("span", { class: `member ${state}` }, h("span", { class: "sign", "aria-hidden": "true" }, sign), ` ${word}`, detail && h("span", { class: "note" }, detail)), address(account, "account"), group(ledger.leaves.get(index)?.C ?? 0n)];
  });
  return card("members", "Members",
    h("p", { class: "muted" }, memberSource(epoch, rounds, last, status)),
    rounds instanceof Error && unavailable(`Who took part in the rounds of epoch ${epoch}`, rounds),
    table("Members and their states", ["Index", "State", "Account", "Final credits"], rows, "No provider has registered yet."),
    h("details", { id: "legend", open: true }, h("summary", {}, "What the states mean"),
      h("dl", { class: "states" }, Object.entries(STATES).map(([state, [sign, word, meaning]]) => h("div", {},
        h("dt", { class: `member ${state}` }, h("span", { class: "sign", "aria-hidden": "true" }, sign), ` ${word}`), h("dd", {}, meaning))))));
}

function memberSource(epoch, rounds, last, status) {
  if (status && !status.error) return "From a signer now, the last published round, and the registry on chain.";
  if (last) return `From round ${last.number}, the last that is published (epoch ${epoch}), and the registry on chain.`;
  if (epoch !== null && rounds === undefined) return "Reading the published evidence…";
  return "From the registry on chain; no round is published yet.";
}

function standing(index, { log, last, status, time }) {
  const mine = (name) => log.of(name).filter((e) => e.args.index === index);
  const until = mine("ProviderRegistry.Banned").reduce((most, e) => (e.args.until > most ? e.args.until : most), 0n);
  if (until > time) return ["banned", `until ${when(until)}`];
  if (mine("ProviderRegistry.ExitRequested").length > 0) return ["left", null];
  if (mine("ProviderRegistry.Slashed").length > 0) return ["slashed", null];
  const told = status?.members?.find((member) => member.index === index);
  if (told && STATES[told.state] && told.state !== "silent") return [told.state, null];
  if (last?.counted.some((m) => m.index === index)) return ["counted", `round ${last.number}`];
  for (const state of ["refused", "missing"]) {
    const found = last?.[state].find((m) => m.index === index);
    if (found) return [state, found.reason.replaceAll("-", " ")];
  }
  return ["silent", null];
}

// --- traffic and rounds -----------------------------------------------------------------------------------------------

function traffic(app, epoch, rounds) {
  const body = () => {
    if (epoch === null) return h("p", { class: "empty" }, "Known with the first report.");
    if (rounds === undefined) return pending("Reading the published evidence…");
    if (rounds instanceof Error) return unavailable(`The traffic of epoch ${epoch}`, rounds);
    const known = rounds.map((r) => r.traffic).filter(Boolean);
    if (known.length === 0) return h("p", { class: "empty" }, `No round of epoch ${epoch} had two members or more.`);
    const sent = known.reduce((sum, t) => sum + t.sent, 0n);
    const synchronous = known.reduce((sum, t) => sum + t.synchronous, 0n);
    return [
      h("p", { class: "figure" }, `${exact((synchronous * 10n) / sent, 1)} times less`),
      h("p", {}, `In the ${known.length} round${known.length === 1 ? "" : "s"} of epoch ${epoch}, members sent each other about ${bytes(sent)}. fp32 synchronous data parallel would have sent ${bytes(synchronous)} for the same steps.`),
      h("p", { class: "note" }, "Both count one all-reduce, 2 (n − 1) / n of the vector for each of n members: the committed payload once a round, or four bytes a parameter at every step. Joining, checks by signers and retransmissions are not in it."),
    ];
  };
  return card("traffic", "Traffic saved", body());
}

function roundTable(app, epoch, rounds) {
  const body = () => {
    if (epoch === null) return h("p", { class: "empty" }, "The first report publishes the first rounds.");
    if (rounds === undefined) return pending("Reading the published evidence…");
    if (rounds instanceof Error) return unavailable(`The rounds of epoch ${epoch}`, rounds);
    return table(`Rounds of epoch ${epoch}`, ["Round", "Counted", "Refused", "Missing", "Tokens"], rounds.map((r) => [
      String(r.number), who(r.counted), who(r.refused), who(r.missing), group(r.counted.reduce((sum, m) => sum + BigInt(m.tokens), 0n)),
    ]), "This epoch has no rounds.");
  };
  return card("rounds", epoch === null ? "Rounds" : `Rounds of epoch ${epoch}`, body());
}

const who = (list) => (list.length === 0 ? "–" : list.map((m) => `#${m.index}${m.reason ? ` (${m.reason.replaceAll("-", " ")})` : ""}`).join(", "));

// --- checkpoints ------------------------------------------------------------------------------------------------------

function lineage(app) {
  const attested = app.log.of("CheckpointRegistry.CheckpointAttested");
  const { run } = app;
  return card("lineage", "Checkpoints",
    h("p", { class: "muted" }, "Each one names its parent, so the chain cannot be rewritten. ", h("code", {}, "commonweight audit lineage"), " recomputes all of them."),
    attested.length === 0 ? h("p", { class: "empty" }, "No checkpoint is attested yet.") :
      h("ol", { class: "lineage" }, [...attested].reverse().map(({ args, block }) => {
        const cid = app.ledger.reports.get(Number(args.epoch))?.report.checkpointCid;
        return h("li", {},
          h("p", {}, h("strong", {}, `Round ${args.round}`), ` · epoch ${args.epoch} · ${nats(args.lossMicro)} nats · block ${block}`),
          h("p", {}, "manifest ", copyable(args.manifestSha256, "manifest digest"), cid && [" content ", copyable(cid, "content identifier")]),
          h("p", { class: "note" }, BigInt(args.parent) === 0n ? "the first of this run" : ["parent ", copyable(args.parent, "parent digest")]));
      })),
    h("p", { class: "note" }, `The evidence is kept for ${span(run.params.evidenceRetention)} at least; later a recomputation may not be possible any more.`));
}
