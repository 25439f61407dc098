// The credit ledger rebuilt from chain data alone, as commonweight/chain/ledger_view.py does it (docs/protocol.md, section 5).
// Hashing needs keccak, and so the wallet library: `tree` and `proof` take it, the credits themselves do not.

import { fromHex, word } from "./abi.js";

const ENTRY = 24;  // hex digits: u32 index, u64 credits
const EMPTY = { hash: `0x${"0".repeat(64)}`, sum: 0n };

/** Credits by index. Throws where the contract counts the list as fraud. */
export function decodeList(hex) {
  const text = hex.slice(2);
  if (text.length % ENTRY) throw new Error("The credits list has a wrong length.");
  const listed = new Map();
  let last = -1;
  for (let at = 0; at < text.length; at += ENTRY) {
    const index = parseInt(text.slice(at, at + 8), 16);
    const credits = BigInt(`0x${text.slice(at + 8, at + ENTRY)}`);
    if (index <= last || credits === 0n) throw new Error("The credits list is not ascending, or lists a zero.");
    listed.set(index, credits);
    last = index;
  }
  return listed;
}

export function depthFor(providerCount, previous) {
  let depth = Math.max(1, previous);
  while (2 ** depth < providerCount) depth += 1;
  return depth;
}

const lists = new WeakMap();  // of reports, by what their event says: the ledger is rebuilt again and again

function listOf({ args }) {
  if (!lists.has(args)) lists.set(args, decodeList(args.credits));
  return lists.get(args);
}

const READ = new Set(["ProviderRegistry.ProviderRegistered", "CreditOracle.EpochClosed", "CreditOracle.ReportSubmitted", "CreditOracle.EpochVoided", "CreditOracle.EpochFinal"]);

/** A text that changes when `rebuild` would give something else: how many events it reads, and which of them are not final. */
export function ledgerKey(events, finalNumber) {
  const read = events.filter(({ name }) => READ.has(name));
  return `${read.length} ${read.filter(({ block }) => block > finalNumber).map(({ tx, index, block }) => `${tx}${index}@${block}`).join()}`;
}

/** Settled epochs, the pending report and each provider's leaf, from events in chain order. */
export function rebuild(events) {
  const accounts = new Map();
  const closed = new Map();
  const reports = new Map();
  const epochs = new Map();
  const leaves = new Map();
  let depth = 0;
  let lastFinal = null;
  const grow = (into, listed, acc, wage) => {
    for (const index of listed.keys()) if (!accounts.has(index)) throw new Error(`Index ${index} is credited and not registered.`);
    for (const [index, credits] of listed) {
      const leaf = into.get(index) ?? { index, provider: accounts.get(index), C: 0n, D: 0n, W: 0n };
      leaf.C += credits;
      leaf.D += credits * acc;
      leaf.W += credits * wage;
      into.set(index, leaf);
    }
    return into;
  };
  /** The leaves of the final tree of an epoch, made anew: only the last tree is kept. */
  const leavesAt = (epoch) => {
    const found = new Map();
    for (const [number, { state, wellFormed, credits, acc, wage }] of epochs) {
      if (number <= epoch && state === "final" && wellFormed) grow(found, credits, acc, wage);
    }
    return found;
  };
  for (const { name, args, block, tx } of events) {
    if (name === "ProviderRegistry.ProviderRegistered") accounts.set(args.index, args.account);
    else if (name === "CreditOracle.EpochClosed") closed.set(Number(args.epoch), args);
    else if (name === "CreditOracle.ReportSubmitted") reports.set(Number(args.epoch), { ...args, block, tx, args });
    else if (name === "CreditOracle.EpochVoided") {
      epochs.set(Number(args.epoch), { state: "void", fraud: args.fraud, credits: new Map(), wage: 0n });
    } else if (name === "CreditOracle.EpochFinal") {
      const epoch = Number(args.epoch);
      const report = reports.get(epoch);
      let credits = new Map();
      let wellFormed = true;
      try {
        credits = listOf(report);
        grow(leaves, credits, args.acc, args.wage);
      } catch {
        credits = new Map();
        wellFormed = false;  // a false report that nobody challenged in time: kept, and never genuine
      }
      depth = report.report.depth;
      lastFinal = epoch;
      epochs.set(epoch, {
        state: "final", credits, wage: args.wage, acc: args.acc, root: args.root, sum: args.sum, depth, wellFormed,
      });
    }
  }
  let pending = null;
  for (const [epoch, report] of reports) {
    if (epochs.has(epoch)) continue;
    let credits = null;
    let after = null;
    const { acc, providerCount } = closed.get(epoch);
    try {
      credits = listOf(report);
      after = grow(new Map([...leaves].map(([index, leaf]) => [index, { ...leaf }])), credits, acc, report.wage);
    } catch { credits = null; }
    pending = { epoch, report, credits, leaves: after, depth: depthFor(providerCount, depth), wage: report.wage };
  }
  return { accounts, closed, reports, epochs, leaves, leavesAt, depth, lastFinal, pending };
}

// --- the Merkle-sum tree ----------------------------------------------------------------------------------------------

/** Leaf and node hashing with a keccak over bytes that gives 0x text. */
export function hasher(keccak) {
  const hash = (text) => keccak(fromHex(text));
  const leafTag = keccak(new TextEncoder().encode("commonweight.leaf.v1")).slice(2);
  const nodeTag = keccak(new TextEncoder().encode("commonweight.node.v1")).slice(2);
  const leaf = ({ index, provider, C, D, W }) =>
    C === 0n ? EMPTY : {
      hash: hash(hash(leafTag + word(BigInt(index)) + provider.slice(2).toLowerCase().padStart(64, "0") + word(C) + word(D) + word(W)).slice(2)),
      sum: C,
    };
  const node = (left, right) => ({
    hash: hash(nodeTag + left.hash.slice(2) + word(left.sum) + right.hash.slice(2) + word(right.sum)),
    sum: left.sum + right.sum,
  });
  return { leaf, node };
}

/** The tree over `leaves` (a Map by index) of the given depth: its root, and the siblings of an index, leaf upwards. */
export function makeTree(leaves, depth, { leaf, node }) {
  const defaults = [EMPTY];
  for (let height = 0; height < depth; height += 1) defaults.push(node(defaults[height], defaults[height]));
  const levels = [new Map([...leaves].filter(([, l]) => l.C > 0n).map(([index, l]) => [index, leaf(l)]))];
  const at = (height, place) => levels[height].get(place) ?? defaults[height];
  for (let height = 0; height < depth; height += 1) {
    const parents = new Set([...levels[height].keys()].map((place) => Math.floor(place / 2)));
    levels.push(new Map([...parents].map((place) => [place, node(at(height, 2 * place), at(height, 2 * place + 1))])));
  }
  return {
    root: at(depth, 0),
    proof: (index) => Array.from({ length: depth }, (_, height) => {
      const place = Math.floor(index / 2 ** height);
      return at(height, place % 2 === 0 ? place + 1 : place - 1);
    }),
  };
}

/** The root that a leaf and its siblings lead to. */
export function climb(start, index, siblings, { node }) {
  return siblings.reduce((below, sibling, height) =>
    (Math.floor(index / 2 ** height) % 2 === 1 ? node(sibling, below) : node(below, sibling)), start);
}
