// The run as the chain has it: what never changes, a snapshot at one block, and all events up to it.

import { decodeLog, decodeResult, encodeCall, fromHex } from "./abi.js";
import { Nonsense, RpcError, Unreachable, masked } from "./rpc.js";

const CHAINS = new Map([
  [1n, "Ethereum"], [10n, "OP Mainnet"], [8453n, "Base"], [42161n, "Arbitrum One"], [11155111n, "Sepolia"],
  [1337n, "a local Ganache chain"], [31337n, "a local Anvil chain"],
]);
const ZERO = `0x${"0".repeat(40)}`;
const LATEST = ["eth_getBlockByNumber", ["latest", false]];

export const chainName = (id) => CHAINS.get(id) ?? `chain ${id}`;
/** Whether a chain is one for development, which stands still where nobody sends anything. */
export const standsStill = (id) => [1337n, 31337n].includes(id);

/** The run is not there, in words for people. */
export class NoRun extends Error {}

/** The node has answered with an error of its own, as one does that is asked too much. */
export class Refused extends Error {}

/** The question for a view: an entry of a batch. */
export const request = (to, name, values, block) => ["eth_call", [{ to, data: encodeCall(name, values) }, block]];

/** Several views at one block; an entry is [address, "Contract.function", values]. A revert gives null with `settle`; what the node itself refuses is thrown. */
export async function views(rpc, calls, block, { settle = false } = {}) {
  const answers = await rpc.batch(calls.map(([to, name, values]) => request(to, name, values, block)), { settle: true });
  return answers.map((answer, place) => {
    if (answer instanceof RpcError) {
      if (settle && reverted(answer)) return null;
      throw answer;
    }
    return decodeResult(calls[place][1], answer);
  });
}

/** What is fixed: chain, addresses, parameters; and, asked in the same breath, the newest block. `asset` is null where a token must be asked. */
async function openRun(rpc, campaign) {
  const [head, chainId, ...rest] = await rpc.batch([
    LATEST,
    ["eth_chainId", []],
    request(campaign, "Campaign.addresses", [], "latest"),
    request(campaign, "Campaign.params", [], "latest"),
    request(campaign, "Campaign.createdBlock", [], "latest"),
  ], { settle: true });
  for (const one of [head, chainId, ...rest]) if (one instanceof RpcError && !reverted(one)) throw one;
  const why = `Chain ${BigInt(chainId)} has no run at ${campaign}. Check the run's address and the RPC address.`;
  if (rest.some((one) => one instanceof RpcError || one === "0x")) throw new NoRun(why);
  const [addresses, params, createdBlock] = rest.map((one, place) =>
    decodeResult(["Campaign.addresses", "Campaign.params", "Campaign.createdBlock"][place], one));
  if (addresses.campaign !== campaign) throw new NoRun(`The contract at ${campaign} is not a run's campaign.`);
  const asset = params.asset === ZERO ? { address: ZERO, native: true, symbol: "ETH", decimals: 18 } : null;
  const told = [[campaign, "Campaign.addresses", rest[0]], [campaign, "Campaign.params", rest[1]]];  // as the node gave it, for the wallet's node to confirm
  return { head, run: { chainId: BigInt(chainId), campaign, addresses, params, createdBlock, asset, told } };
}

/** A token, and what was told of it. EIP-20 leaves name and decimal places open: without them it goes by its address, and by smallest units. */
async function readToken(rpc, address) {
  const names = ["ERC20.symbol", "ERC20.decimals"];
  const answers = await rpc.batch(names.map((name) => request(address, name, [], "latest")), { settle: true });
  const [symbol, decimals] = answers.map((answer) => {
    if (answer instanceof RpcError && !reverted(answer)) throw answer;
    return answer instanceof RpcError || answer === "0x" ? null : answer;
  });
  const asset = { address, native: false, symbol: symbolOf(symbol, address), decimals: decimals === null ? 0 : decodeResult("ERC20.decimals", decimals) };
  if (asset.decimals > 255) throw new RangeError("a token has at most 255 decimal places");
  return { asset, told: names.map((name, place) => [address, name, [symbol, decimals][place]]) };
}

/** Whether it is the contract that refused, and not the node, which may have been asked too much. Nodes have different words for it. */
export const reverted = ({ code, message }) => code === 3 || /revert|invalid (opcode|jump)|bad (instruction|jump)|out of gas|stack (under|over)flow|vm execution/i.test(message);

function symbolOf(answer, address) {
  const text = (answer?.length === 66 ? new TextDecoder().decode(fromHex(answer)).replace(/\0+$/, "") : answer && decodeResult("ERC20.symbol", answer)) || `token ${address.slice(0, 6)}`;
  return text.trim().toUpperCase() === "ETH" ? `${text.trim()} (a token)` : text.slice(0, 12);
}

/** Reads one run again and again: two questions to the chain at first, the second with what the first told; then one or two. */
export class Reading {
  #opened = null; #hash = null; #final = 0n;

  constructor(rpc, campaign) {
    this.rpc = rpc;
    this.campaign = campaign;
    this.run = null;
    this.log = null;
    this.told = () => {};  // hears how far the events are read, where a node gives them page by page
  }

  /** The snapshot of the newest block, with `log` up to it; null where it is the block of last time. Throws Nonsense for answers that are none, Refused where the node gives none. */
  async next() {
    const { urls, last } = this.rpc;
    try {
      return await this.#look();
    } catch (error) {
      if (error instanceof RpcError) {
        this.rpc.distrust();
        throw new Refused(`${masked(urls[last])} says: ${error.message}`);
      }
      if (error instanceof Nonsense || !(error instanceof TypeError || error instanceof RangeError || error instanceof SyntaxError)) throw error;
      this.rpc.distrust();
      throw new Nonsense(`${masked(urls[last])} answers with something that is no answer to what it was asked (${error.message}).`);
    }
  }

  async #look() {
    let head;
    if (this.#opened === null) {
      ({ head, run: this.#opened } = await openRun(this.rpc, this.campaign));
      this.log = new EventLog(this.rpc, this.#opened, (at, to) => this.told(at, to));
    } else head = await this.rpc.call(...LATEST);
    if (head.hash === this.#hash) return null;
    if (BigInt(head.number) < this.#final) {
      const { urls, last } = this.rpc;
      this.rpc.distrust();
      throw new Nonsense(`${masked(urls[last])} knows blocks up to ${BigInt(head.number)} only; block ${this.#final} was final before.`);
    }
    const run = this.#opened;
    const looking = readSnapshot(this.rpc, run, head);
    const [snapshot, logs, token] = await Promise.all([
      looking, this.log.read(head, looking), run.asset ? null : readToken(this.rpc, run.params.asset),
    ]);
    this.log.take(logs, snapshot);
    if (token !== null) {
      run.asset = token.asset;
      run.told.push(...token.told);
    }
    this.run = run;
    this.#hash = head.hash;
    if (snapshot.finalNumber > this.#final) this.#final = snapshot.finalNumber;
    return snapshot;
  }
}

const FIGURES = {
  raised: ["campaign", "Campaign.raised"],
  failed: ["campaign", "Campaign.failed"],
  depositsClosed: ["campaign", "Campaign.depositsClosed"],
  milestonesMet: ["campaign", "Campaign.milestonesMet"],
  unlockedEscrow: ["campaign", "Campaign.unlockedEscrow"],
  reserved: ["campaign", "Campaign.reserved"],
  released: ["campaign", "Campaign.released"],
  wagesDue: ["campaign", "Campaign.wagesDue"],
  ended: ["campaign", "Campaign.ended"],
  returnable: ["campaign", "Campaign.returnable"],
  nextEpoch: ["oracle", "CreditOracle.nextEpoch"],
  finishedAt: ["oracle", "CreditOracle.finishedAt"],
  signers: ["oracle", "CreditOracle.signers"],
  quorum: ["oracle", "CreditOracle.quorum"],
  rotation: ["oracle", "CreditOracle.rotation"],
  ledger: ["ledger", "CreditLedger.latest"],
  providerCount: ["registry", "ProviderRegistry.providerCount"],
  capitalReceived: ["distributor", "RevenueDistributor.capitalReceived"],
  capitalPaid: ["distributor", "RevenueDistributor.capitalPaid"],
  computeReceived: ["distributor", "RevenueDistributor.computeReceived"],
  computePaid: ["distributor", "RevenueDistributor.computePaid"],
  pendingCompute: ["distributor", "RevenueDistributor.pendingCompute"],
  openGames: ["disputes", "Disputes.openGames"],
};

/** Every figure of one block. `finalNumber` is the newest block that the node calls final. */
async function readSnapshot(rpc, run, head) {
  const tag = head.number;
  const [finalized, ...figures] = await rpc.batch([
    ["eth_getBlockByNumber", ["finalized", false]],
    ...Object.values(FIGURES).map(([part, name]) => request(run.addresses[part], name, [], tag)),
  ], { settle: true });
  const snapshot = { number: BigInt(tag), hash: head.hash, time: BigInt(head.timestamp) };
  Object.entries(FIGURES).forEach(([key, [, name]], place) => {
    if (figures[place] instanceof RpcError) throw figures[place];
    snapshot[key] = decodeResult(name, figures[place]);
  });
  // A node that knows no finality says so by an error: then nothing is called final before 32 blocks lie on it.
  const known = finalized !== null && !(finalized instanceof RpcError);
  const fallback = snapshot.number > 32n ? snapshot.number - 32n : 0n;
  snapshot.finalNumber = known ? BigInt(finalized.number) : fallback;
  return snapshot;
}

/** Where a run stands, as `commonweight run show` says it. */
export function stateOf(run, snapshot) {
  if (snapshot.failed) return "failed";
  if (!snapshot.depositsClosed) return snapshot.raised >= run.params.goal ? "goal-met" : "funding";  // `succeeded` also asks that deposits are closed
  if (snapshot.finishedAt > 0n) return "trained";
  return snapshot.time >= run.params.epochStart ? "training" : "funded";
}

/** All events of a run in chain order. Those of blocks that are not final are read again each time, so no reorg stays. */
class EventLog {
  #rpc; #run; #told; #address; #byName = new Map(); #final = []; #next; #pages = null;

  constructor(rpc, run, told) {
    this.#rpc = rpc;
    this.#run = run;
    this.#told = told;
    const { campaign, registry, oracle, ledger, checkpoints, distributor, disputes } = run.addresses;
    this.#address = [campaign, registry, oracle, ledger, checkpoints, distributor, disputes];
    this.#next = run.createdBlock;
    this.all = [];
  }

  /** The logs that are not final yet, up to a block; all at once, and page by page once a node has refused that. `looking` is the look at the same block. */
  async read(head, looking) {
    const [from, to] = [this.#next, BigInt(head.number)];
    if (from > to) return [];
    if (this.#pages === null) {
      try {
        return await this.#rpc.call("eth_getLogs", [{ address: this.#address, fromBlock: `0x${from.toString(16)}`, toBlock: `0x${to.toString(16)}` }]);
      } catch (error) {
        if (!(error instanceof RpcError || error instanceof Unreachable) || from === to) throw error;
      }
      await looking;  // a node that answers nothing else either has not refused this
      const { Pages } = await import("./pages.js");
      this.#pages ??= new Pages(this.#rpc, this.#run, this.#address, to - from + 1n, this.#told);
    }
    return this.#pages.read(from, head, (await looking).finalNumber);
  }

  take(logs, { number, finalNumber }) {
    const events = [];
    for (const log of logs) {
      const decoded = decodeLog(log);
      if (decoded === null) continue;
      events.push({ ...decoded, block: BigInt(log.blockNumber), tx: log.transactionHash, index: Number(log.logIndex) });
    }
    this.#final.push(...events.filter((e) => e.block <= finalNumber));
    if (finalNumber >= this.#next) this.#next = (finalNumber < number ? finalNumber : number) + 1n;
    this.all = [...this.#final, ...events.filter((e) => e.block > finalNumber)];
    this.#byName = new Map();
    for (const event of this.all) {
      if (!this.#byName.has(event.name)) this.#byName.set(event.name, []);
      this.#byName.get(event.name).push(event);
    }
  }

  of(name) {
    return this.#byName.get(name) ?? [];
  }
}
