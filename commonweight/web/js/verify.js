// What an auditor can check without leaving the page, with no word of anybody's taken: each check has a name and an outcome.

import { sha256 } from "./content.js";
import { ethers } from "./crypto.js";
import { climb, decodeList, hasher, makeTree } from "./ledger.js";
import { group } from "./money.js";

const REPORT = [
  ["configDigest", "bytes32"], ["epoch", "uint64"], ["attempt", "uint32"], ["prevRoot", "bytes32"], ["root", "bytes32"], ["sum", "uint256"],
  ["depth", "uint8"], ["epochCredits", "uint64"], ["creditsHash", "bytes32"], ["evidenceCid", "string"], ["evidenceSha256", "bytes32"],
  ["checkpoint", "bytes32"], ["checkpointCid", "string"], ["round", "uint64"], ["lossMicro", "uint64"], ["blockNumber", "uint64"], ["blockHash", "bytes32"],
].map(([name, type]) => ({ name, type }));
const DOCUMENT = [{ name: "kind", type: "string" }, { name: "sha256", type: "bytes32" }];
const KINDS = ["plan", "commitment", "receipt", "part", "result", "anchor", "record", "verdict", "offence", "tls", "served"];
const PARALLEL = 6;

const domainOf = (run) => ({ name: "Commonweight", version: "1", chainId: run.chainId, verifyingContract: run.addresses.oracle });
const outcome = (name, ok, detail = "") => ({ name, ok, detail });

/** Signatures, list, tree and, where it can be had, all evidence of an epoch's report. */
export async function* checkReport(app, epoch) {
  const { run, ledger } = app;
  const entry = ledger.reports.get(epoch);
  const { report } = entry;
  const { keccak256, TypedDataEncoder, recoverAddress } = await ethers();
  const digest = TypedDataEncoder.hash(domainOf(run), { Report: REPORT }, report);
  yield outcome("The report hashes to what the oracle contract emitted", digest === entry.digest);
  const signers = entry.signatures.map((signature) => recoverAddress(digest, signature).toLowerCase());
  yield outcome("Every signature is by the signer named", signers.join() === entry.signers.join(), `${signers.length} signer${signers.length === 1 ? "" : "s"}`);
  const office = await officeOf(app, report.configDigest);
  const entitled = office && new Set(signers).size === signers.length && signers.every((signer) => office.signers.includes(signer)) && signers.length >= office.quorum;
  yield outcome("They are signers in office and a quorum of them, by the set whose digest was signed", Boolean(entitled), office ? `${signers.length} of ${office.signers.length}, ${office.quorum} must sign` : "no set of signers of this run has that digest");
  yield outcome("The credits list is the one that was signed", keccak256(entry.credits) === report.creditsHash);
  const [leaves, depth] = treeOf(ledger, epoch);
  const tree = leaves && makeTree(leaves, depth, hasher(keccak256));
  const grown = tree && tree.root.hash === report.root && tree.root.sum === report.sum && depth === report.depth;
  yield outcome("The tree rebuilt from the chain's lists has the root that was signed", Boolean(grown), tree ? `${group(tree.root.sum)} credits` : "the list is malformed");
  yield* checkEvidence(app, epoch, leaves);
}

/** The set of signers whose digest a report names, as CreditOracle digests it: {rotation, quorum, signers}; undefined where no set of the run has it. */
async function officeOf({ run, log }, digest) {
  const { AbiCoder, id, keccak256 } = await ethers();
  return log.of("CreditOracle.SignerSetChanged").map(({ args }) => args).find(({ rotation, quorum, signers }) => digest === keccak256(AbiCoder.defaultAbiCoder().encode(
    ["bytes32", "bytes32", "uint32", "uint16", "address[]"], [id("commonweight.config.v1"), run.params.configSha256, rotation, quorum, signers])));
}

function treeOf({ epochs, leavesAt, pending }, epoch) {
  if (pending?.epoch === epoch) return [pending.leaves, pending.depth];
  const entry = epochs.get(epoch);
  return entry?.state === "final" && entry.wellFormed ? [leavesAt(epoch), entry.depth] : [null, 0];
}

async function* checkEvidence(app, epoch, leaves) {
  const evidence = app.evidence(epoch);
  let index;
  try {
    index = await evidence.index();
  } catch (error) {
    yield outcome("The evidence can be had", null, error.message);
    return;
  }
  yield outcome("index.json has the digest that was signed", true, `${index.size} files`);
  const paths = [...index.keys()];
  const wrong = [];
  for (let start = 0; start < paths.length; start += PARALLEL) {
    await Promise.all(paths.slice(start, start + PARALLEL).map((path) => evidence.bytes(path).catch((error) => wrong.push(error.message))));
  }
  yield outcome("Every file has the size and digest that index.json names", wrong.length === 0, wrong.slice(0, 3).join(" "));
  if (leaves && index.has("leaves.jsonl") && wrong.length === 0) {
    const lines = new TextDecoder().decode(await evidence.bytes("leaves.jsonl")).split("\n").filter(Boolean).map((line) => JSON.parse(line));
    const same = lines.length === leaves.size && lines.every((line) => {
      const leaf = leaves.get(line.index);
      return leaf && line.provider === leaf.provider && ["C", "D", "W"].every((key) => line[key] === leaf[key].toString());
    });
    yield outcome("leaves.jsonl is the tree rebuilt from the chain", same);
    const { credited } = await evidence.credits();
    const listed = decodeList(app.ledger.reports.get(epoch).credits);
    const equal = Object.keys(credited).length === listed.size && [...listed].every(([at, credits]) => credited[at] === credits.toString());
    yield outcome("credits.json credits what the list on chain says", equal);
  }
}

/** A leaf with its proof, as people may pass it on: {epoch, leaf: {index, provider, C, D, W}, siblings: [{hash, sum}]}. */
export async function leafProof({ ledger }, epoch, index) {
  const entry = ledger.epochs.get(epoch);
  if (entry?.state !== "final") throw new Error(`Epoch ${epoch} is not final.`);
  const leaves = ledger.leavesAt(epoch);
  const leaf = leaves.get(index);
  if (!leaf) throw new Error(`Provider #${index} has no credits up to epoch ${epoch}.`);
  const { keccak256 } = await ethers();
  const siblings = makeTree(leaves, entry.depth, hasher(keccak256)).proof(index);
  return JSON.stringify({ epoch, leaf, siblings }, (_, value) => (typeof value === "bigint" ? value.toString() : value), 2);
}

export async function* checkLeaf({ ledger }, text) {
  const given = JSON.parse(text);
  const entry = ledger.epochs.get(Number(given.epoch));
  yield outcome(`Epoch ${given.epoch} is final on chain`, entry?.state === "final");
  if (entry?.state !== "final") return;
  const { leaf } = given;
  const numbers = { index: Number(leaf.index ?? given.index), provider: String(leaf.provider ?? given.account), C: BigInt(leaf.C), D: BigInt(leaf.D), W: BigInt(leaf.W) };
  yield outcome("The provider is the account registered at this index", ledger.accounts.get(numbers.index) === numbers.provider.toLowerCase());
  const siblings = given.siblings.map(({ hash, sum }) => ({ hash, sum: BigInt(sum) }));
  yield outcome("The proof is as long as the tree is deep", siblings.length === entry.depth, `${siblings.length} siblings`);
  const { keccak256 } = await ethers();
  const hashing = hasher(keccak256);
  const root = climb(hashing.leaf(numbers), numbers.index, siblings, hashing);
  yield outcome("Leaf and siblings lead to the root on chain, in hash and sum", root.hash === entry.root && root.sum === entry.sum, `${group(numbers.C)} credits`);
}

/** A signed document: a coordinator's receipt, a server's receipt for an answer, or any other kind of section 4. */
export async function* checkDocument(app, text) {
  const { kind, body, signature } = JSON.parse(text);
  yield outcome(`It is a signed document of a known kind`, KINDS.includes(kind), String(kind));
  yield outcome("It names this run", body?.run?.toLowerCase() === app.run.campaign, String(body?.run));
  const digest = await sha256(new TextEncoder().encode(canonical(body)));
  const { TypedDataEncoder, recoverAddress } = await ethers();
  let signer;
  try {
    signer = recoverAddress(TypedDataEncoder.hash(domainOf(app.run), { Document: DOCUMENT }, { kind, sha256: digest }), signature).toLowerCase();
  } catch (error) {
    yield outcome("The signature is valid", false, error.message);
    return;
  }
  const role = roleOf(app, signer);
  const fits = kind === "receipt" ? role?.startsWith("signer") : kind === "served" ? true : role !== null;
  yield outcome(kind === "served" ? "It is signed; compare the signer with the server that you paid" : "It is signed by who may sign it", Boolean(fits), `${signer}${role ? `, ${role}` : ", unknown in this run"}`);
  yield outcome("Its digest, by which others name it", null, digest);
}

/** What an address is in this run: a signer, now or before, or a provider by one of its signing keys. */
function roleOf({ run, log }, address) {
  const sets = [run.params.signers, ...log.of("CreditOracle.SignerSetChanged").map((e) => e.args.signers)];
  if (sets.at(-1).includes(address)) return "signer in office";
  if (sets.some((set) => set.includes(address))) return "signer, no longer in office";
  for (const name of ["ProviderRegistry.ProviderRegistered", "ProviderRegistry.KeyRotated"]) {
    const found = log.of(name).find((e) => e.args.signingKey === address);
    if (found) return `provider #${found.args.index}`;
  }
  return null;
}

/** RFC 8785 for what our documents hold: no floats, and JSON.stringify escapes strings as it says. */
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value !== null && typeof value === "object") {
    return `{${Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join(",")}}`;
  }
  if (typeof value === "number" && !Number.isSafeInteger(value)) throw new Error("A document holds whole numbers only.");
  return JSON.stringify(value);
}

/** Where the bytes of a file are known on chain or in the evidence. */
export async function* checkFile(app, file) {
  const digest = await sha256(await file.arrayBuffer());
  yield outcome("Its SHA-256", null, digest);
  const known = [];
  for (const { args } of app.log.of("CheckpointRegistry.CheckpointAttested")) {
    if (args.manifestSha256 === digest) known.push(`the manifest of the checkpoint after round ${args.round}, attested on chain`);
  }
  for (const [epoch, { report }] of app.ledger.reports) if (report.evidenceSha256 === digest) known.push(`index.json of the evidence of epoch ${epoch}, signed on chain`);
  if (app.run.params.configSha256 === digest) known.push("the run's configuration, run.json, fixed on chain");
  const unread = [];
  for (const epoch of app.ledger.reports.keys()) {
    try {
      const evidence = app.evidence(epoch);
      for (const [path, entry] of await evidence.index()) {
        if (entry.sha256 === digest) known.push(`${path} in the evidence of epoch ${epoch}`);
        if (/^checkpoints\/\d+\.json$/.test(path)) {
          const manifest = await evidence.json(path);
          for (const [name, named] of Object.entries(manifest.files)) {
            if (named.sha256 === digest) known.push(`${name} of the checkpoint after round ${manifest.round}`);
          }
        }
      }
    } catch (error) { unread.push(error.message); }
  }
  yield outcome("It is a file of this run", known.length > 0 ? true : unread.length ? null : false, known.join("; ") || "no report names these bytes");
  if (unread.length) yield outcome("All evidence could be read", null, unread[0]);
}
