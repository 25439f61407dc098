// An auditor's side: every report with who signed it, and checks that run in this browser.

import { badge, columns, copyable, definitions, h, later, piecemeal, region, say, slots, table, visible } from "../dom.js";
import { bytes, group, nats } from "../money.js";
import { checkDocument, checkFile, checkLeaf, checkReport, leafProof } from "../verify.js";
import { doubts } from "./overview.js";
import { address, card, pending, relative, unavailable, when } from "./parts.js";

const SHOWN = 3;
const PIECE = 20;  // older reports that are drawn at once
const FILES = 200;
const FILE_LIMIT = 1 << 30;

export function audit(app) {
  const places = slots("reports", "signers", "doubts", "contracts");
  const outcomes = new Map();
  const root = h("div", { class: "stackup" }, places.reports, checks(app), columns([places.doubts, places.signers], [places.contracts]));
  return {
    root,
    update() {
      const { ledger, snapshot: s, run, log } = app;
      region(places.reports, [...ledger.reports.values()].map((r) => r.digest).concat(s.ledger.sum.toString(), String(ledger.epochs.size), app.pendingState()), () => reports(app, outcomes));
      region(places.signers, [s.signers, s.quorum, s.rotation], () => signers(app));
      region(places.doubts, doubts(app).map((e) => e.tx + e.index), () => doubtTable(app));
      region(places.contracts, [run.campaign, log.all.length > 0], () => contracts(app));
    },
  };
}

// --- reports ----------------------------------------------------------------------------------------------------------

function reports(app, outcomes) {
  const { ledger } = app;
  const list = [...ledger.reports].sort(([a], [b]) => b - a);
  const voids = [...ledger.epochs].filter(([epoch, e]) => e.state === "void" && !ledger.reports.has(epoch));
  return card("reports", "Reports",
    h("p", { class: "muted" }, "One for each epoch, signed by a quorum. “Check it here” recomputes digests, signatures, the credit tree and the evidence in this browser; the credits themselves and the weights are recomputed by ",
      h("code", {}, "commonweight audit verify"), " and ", h("code", {}, "commonweight audit lineage"), "."),
    list.length === 0 && h("p", { class: "empty" }, "No report has been submitted yet."),
    list.slice(0, SHOWN).map(([epoch, entry]) => reportCard(app, epoch, entry, outcomes)),
    list.length > SHOWN && later("older", `Older reports (${list.length - SHOWN})`, () =>
      piecemeal("more-reports", h("div", {}), list.slice(SHOWN), PIECE, ([epoch, entry]) => reportCard(app, epoch, entry, outcomes))),
    voids.length > 0 && h("p", { class: "note" }, `Epochs without a report: ${voids.map(([epoch]) => epoch).join(", ")}. They are void; their work may be credited later.`));
}

function reportCard(app, epoch, entry, outcomes) {
  const settled = app.ledger.epochs.get(epoch);
  const { report } = entry;
  const state = settled === undefined ? badge("open", app.pendingState()) : settled.state === "final" ? badge("good", "final") : badge("bad", settled.fraud ? "void by fraud" : "void");
  const results = h("ul", { class: "checks", "aria-live": "polite" });
  const button = h("button", { type: "button", id: `check-${epoch}`, onclick: () => runChecks(button, results, () => checkReport(app, epoch), (done) => outcomes.set(entry.digest, done)) }, "Check it here");
  for (const one of outcomes.get(entry.digest) ?? []) results.append(line(one));
  return h("article", { class: "report", "aria-labelledby": `report-${epoch}` },
    h("h3", { id: `report-${epoch}` }, `Epoch ${epoch} `, state),
    definitions([
      ["Credits", group(report.epochCredits), `${group(report.sum)} in all`],
      ["Loss", `${nats(report.lossMicro)} nats`, `after round ${report.round}`],
      ["Signed by", entry.signers.map((signer) => [address(signer, "signer"), " "])],
      ["Root", copyable(report.root, "root")],
      ["Evidence", [link(app, report.evidenceCid), " ", h("span", { class: "pair" }, "index.json ", copyable(report.evidenceSha256, "digest of index.json"))]],
      ["Checkpoint", [link(app, report.checkpointCid), " ", h("span", { class: "pair" }, "manifest ", copyable(report.checkpoint, "manifest digest"))]],
      ["Submitted", `block ${entry.block}`, [" ", copyable(entry.tx, "transaction")]],
    ], "tiles"),
    h("div", { class: "buttons" }, button), results, evidenceFiles(app, epoch));
}

/** The files of the evidence, read when they are asked for; each is checked against the report's digest before it is handed out. */
function evidenceFiles(app, epoch) {
  const list = h("div", {});
  const load = async () => {
    if (list.childNodes.length > 0) return;
    list.replaceChildren(pending("Reading the published evidence…"));
    try {
      const files = [...(await app.evidence(epoch).index()).values()];
      list.replaceChildren(...piecemeal(`more-files-${epoch}`, h("ul", { class: "files" }), files, FILES, ({ path, size }) => {
        const told = h("span", { class: "note" }, ` ${bytes(BigInt(size))}`);
        return h("li", {}, h("button", { type: "button", class: "copy", onclick: () => save(app, epoch, path, told) }, path), told);
      }));
    } catch (error) {
      list.replaceChildren(unavailable(`The evidence of epoch ${epoch}`, error));
    }
  };
  return h("details", { id: `files-${epoch}`, ontoggle: load }, h("summary", {}, "Evidence, file by file"), list);
}

async function save(app, epoch, path, told) {
  const tell = (text, kind) => {
    told.className = kind;
    told.textContent = visible(` ${text}`);
    say(text);
  };
  try {
    const url = URL.createObjectURL(new Blob([await app.evidence(epoch).bytes(path)]));
    h("a", { href: url, download: `epoch-${epoch}-${path.replaceAll("/", "-")}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
    tell(`${path} has the digest that was signed.`, "note");
  } catch (error) {
    tell(error.message, "problem");
  }
}

/** A link to the content where a gateway is named that shows it; else the identifier alone. */
function link({ content }, cid) {
  const gateway = content.gateways.find((url) => url !== ".");
  return gateway ? h("a", { href: `${gateway}/ipfs/${cid}`, rel: "noreferrer", target: "_blank" }, cid.slice(0, 10), "…") : copyable(cid, "content identifier");
}

// --- checks in the browser --------------------------------------------------------------------------------------------

const line = ({ name, ok, detail }) => h("li", { class: ok === null ? "told" : ok ? "right" : "wrong" },
  h("span", { class: "verdict" }, ok === null ? "told" : ok ? "right" : "wrong"), ` ${name}`, detail && h("span", { class: "note" }, detail));

async function runChecks(button, results, make, done = () => {}) {
  button.disabled = true;
  results.replaceChildren(h("li", { class: "loading" }, "Checking…"));
  const found = [];
  try {
    for await (const one of make()) {
      found.push(one);
      results.lastChild.before(line(one));
    }
  } catch (error) {
    found.push({ name: "It can be read", ok: false, detail: error.message });
    results.lastChild.before(line(found.at(-1)));
  }
  results.lastChild.remove();
  button.disabled = false;
  done(found);
}

function checks(app) {
  const results = { leaf: h("ul", { class: "checks", id: "leaf-result", "aria-live": "polite" }), document: h("ul", { class: "checks", id: "document-result", "aria-live": "polite" }), file: h("ul", { class: "checks", id: "file-result", "aria-live": "polite" }) };
  const leafText = h("textarea", { id: "leaf-text", rows: 6, spellcheck: "false", "aria-describedby": "leaf-hint" });
  const index = h("input", { id: "leaf-index", inputmode: "numeric", autocomplete: "off", placeholder: "0" });
  const leafButton = h("button", { type: "button", id: "leaf-check", onclick: () => runChecks(leafButton, results.leaf, () => checkLeaf(app, leafText.value)) }, "Check the leaf");
  const make = async () => {
    results.leaf.replaceChildren();
    try { leafText.value = await leafProof(app, app.ledger.lastFinal, Number(index.value || "0")); }
    catch (error) { results.leaf.replaceChildren(line({ name: "The proof can be made", ok: false, detail: error.message })); }
  };
  const documentText = h("textarea", { id: "document-text", rows: 6, spellcheck: "false", "aria-describedby": "document-hint" });
  const documentButton = h("button", { type: "button", id: "document-check", onclick: () => runChecks(documentButton, results.document, () => checkDocument(app, documentText.value)) }, "Check the receipt");
  const file = h("input", { id: "file", type: "file", "aria-describedby": "file-hint", onclick: () => { file.value = ""; }, onchange: () => {
    const [chosen] = file.files;
    if (!chosen) return;
    if (chosen.size > FILE_LIMIT) results.file.replaceChildren(line({ name: "The file is small enough for a browser", ok: false, detail: "It is over 1 GiB: compare its digest with `sha256sum`." }));
    else runChecks(file, results.file, () => checkFile(app, chosen));
  } });
  return h("div", { class: "three" },
    card("check-leaf", "Check a leaf",
      h("p", { id: "leaf-hint", class: "hint" }, "A provider's credits with its proof, as JSON with epoch, leaf and siblings; also a file of ", h("code", {}, "commonweight audit proof"), "."),
      h("div", { class: "field" }, h("label", { for: "leaf-index" }, "Provider's index"), h("div", { class: "row" }, index, h("button", { type: "button", id: "leaf-make", onclick: make }, "Make its proof"))),
      h("div", { class: "field" }, h("label", { for: "leaf-text" }, "Leaf and proof"), leafText),
      h("div", { class: "buttons" }, leafButton), results.leaf),
    card("check-document", "Check a receipt",
      h("p", { id: "document-hint", class: "hint" }, "A signed document as JSON with kind, body and signature: a signer's receipt for work, or a server's for an answer."),
      h("div", { class: "field" }, h("label", { for: "document-text" }, "Receipt"), documentText),
      h("div", { class: "buttons" }, documentButton), results.document),
    card("check-file", "Check a file",
      h("p", { id: "file-hint", class: "hint" }, "Weights, a manifest, a piece of evidence: it is hashed here and goes nowhere."),
      h("div", { class: "field" }, h("label", { for: "file" }, "File"), file), results.file));
}

// --- signers, doubts, contracts ---------------------------------------------------------------------------------------

function signers({ snapshot: s }) {
  return card("signers", "Signers in office", h("p", {}, `${s.signers.length === 1 ? "This one signs every report" : `${s.quorum} of these ${s.signers.length} must sign a report`}; the set has ${Number(s.rotation) === 0 ? "never changed" : `changed ${Number(s.rotation) === 1 ? "once" : `${s.rotation} times`}`}.`),
    h("ul", { class: "addresses" }, s.signers.map((signer) => h("li", {}, address(signer, "signer")))));
}

const WORDS = {
  "Disputes.GameOpened": (a) => `Someone doubts the root of epoch ${a.epoch}: game ${a.game} is open.`,
  "Disputes.CreditsChallenged": (a) => `The credits of provider #${a.index} in epoch ${a.epoch} are doubted.`,
  "Disputes.WrongLeafProved": (a) => `A wrong leaf of provider #${a.index} was proved: fraud by the signers of that report.`,
  "Disputes.BadListProved": () => "A malformed credits list was proved: fraud by the signers of that report.",
  "Disputes.FraudByDefault": () => "The signers never showed their tree: that counts as fraud.",
  "Disputes.ReportUnanswered": (a) => `Nobody answered for the tree of epoch ${a.epoch} in time: its report is void.`,
  "Disputes.Convicted": (a) => `Provider #${a.index} was convicted for epoch ${a.epoch}: ${group(a.credits)} credits no longer earn.`,
  "CreditOracle.BondSlashed": () => "A signer lost its bond.",
  "ProviderRegistry.Slashed": (a) => `Provider #${a.index} lost its stake.`,
  "CreditOracle.EpochVoided": (a) => `Epoch ${a.epoch} is void${a.fraud ? " by fraud" : ": it had no report that stood"}.`,
};

function doubtTable(app) {
  return card("doubts", "Challenges and what came of them",
    table("Challenges", ["Block", "What happened", "Transaction"], doubts(app).map((e) => [`${e.block}`, WORDS[e.name](e.args), copyable(e.tx, "transaction")]), "Nothing has been challenged in this run."));
}

function contracts({ run, snapshot: s }) {
  return card("contracts", "Contracts", h("p", { class: "muted" }, "Nobody owns them and nothing in them can be exchanged. ", h("code", {}, "commonweight audit verify"), " compares their code with the sources."),
    definitions([
      ...Object.entries(run.addresses).map(([name, at]) => [name[0].toUpperCase() + name.slice(1), address(at, `${name} contract`)]),
      ["Created", `block ${run.createdBlock}`],
      ["Configuration", [copyable(run.params.configCid, "content identifier"), " ", copyable(run.params.configSha256, "digest of run.json")]],
      ["First epoch", when(run.params.epochStart), relative(run.params.epochStart, s.time)],
    ]));
}
