// How money gets into a contract of the run: ether as value; tokens for a deposit by a signature where the token takes one, else by
// an allowance of exactly the amount. What a token takes is asked of the token itself, and every doubt ends at the allowance.

import { decode, toHex } from "./abi.js";
import { sendCall, stands } from "./actions.js";
import { ethers } from "./crypto.js";
import { NotEnough, RpcError, declined, revertData } from "./errors.js";
import { exact } from "./money.js";
import { request, reverted, views } from "./run.js";

const FIELDS = {
  Permit: "owner address, spender address, value uint256, nonce uint256, deadline uint256",
  ReceiveWithAuthorization: "from address, to address, value uint256, validAfter uint256, validBefore uint256, nonce bytes32",
  EIP712Domain: "name string, version string, chainId uint256, verifyingContract address",
};
const LIFE_S = 3600n;
const HURRY_S = 600n;  // a signature that has less time left is asked for again
const NONE = `0x${"0".repeat(64)}`;
const NEVER = 0n;

/** For a deposit of `amount` by who is connected now: its `account`, the plain call, the steps before it, which may put another in its place (`calls` names it), and `how` it is paid, in words. */
export async function planDeposit(app, amount) {
  const { run, wallet: { account } } = app;
  const call = { to: run.campaign, name: "Campaign.deposit", values: [amount], value: run.asset.native ? amount : 0n };
  const known = await planAllowance(app, account, run.campaign, amount, "the campaign");
  if (known.first.length === 0) return { account, call, ...known };
  const way = await signedWay(app, account, amount);
  if (way === null) return { account, call, ...known };
  const make = way.authorization ? authorization : permit;
  return { account, call, ...make(way.domain, way.nonce, amount, known.first[0]) };
}

/** The steps before a call by `account` in which `spender`, a contract of the run, takes `amount` of the asset. */
export async function planAllowance({ run, rpc }, account, spender, amount, name) {
  if (run.asset.native) return { how: null, first: [] };
  const token = run.asset.address;
  const [held, allowed] = await views(rpc, [[token, "ERC20.balanceOf", [account]], [token, "ERC20.allowance", [account, spender]]], "latest");
  if (held < amount) throw new NotEnough(`Your account holds ${exact(held, run.asset.decimals)} ${run.asset.symbol}.`);
  if (allowed >= amount) return { how: ["Payment", `from what you have allowed ${name} already`], first: [] };
  return {
    how: ["Payment", "in two transactions", `this token takes no signatures; ${name} is allowed exactly this amount`],
    first: [allowance(token, spender, amount, name)],
  };
}

// --- what the token takes ---------------------------------------------------------------------------------------------

/** How the token takes a signature for the campaign: {authorization, domain, nonce}; null where it takes none that the page can make. */
async function signedWay({ rpc, run }, account, amount) {
  const token = run.asset.address;
  const fresh = `0x${toHex(crypto.getRandomValues(new Uint8Array(32)))}`;
  const [nonce, used, separator, told, name, version] = await views(rpc, [
    [token, "ERC20.nonces", [account]], [token, "ERC20.authorizationState", [account, fresh]],
    [token, "ERC20.DOMAIN_SEPARATOR"], [token, "ERC20.eip712Domain"], [token, "ERC20.name"], [token, "ERC20.version"],
  ], "latest", { settle: true }).catch(() => []);
  const domain = separator == null ? null : await domainOf(separator, token, run.chainId, told?.name ?? name ?? "", told?.version ?? version ?? "1");
  if (domain == null) return null;
  if (used === false && (await takesAuthorizations(rpc, token, run.campaign, account, amount))) return { authorization: true, domain, nonce: fresh };
  return nonce == null ? null : { authorization: false, domain, nonce };
}

/** The EIP-712 domain that hashes to a token's DOMAIN_SEPARATOR; undefined where none does. */
async function domainOf(separator, token, chainId, name, version) {
  const here = { chainId, verifyingContract: token };
  const { TypedDataEncoder } = await ethers();
  return [{ name, version, ...here }, { name, ...here }, here].find((one) => TypedDataEncoder.hashDomain(one) === separator);
}

/** Whether the token refuses an authorisation that has run out: by a reason it knows the function, with none it does not. */
async function takesAuthorizations(rpc, token, campaign, account, amount) {
  const [, [call, block]] = request(token, "ERC20.receiveWithAuthorization", [account, campaign, amount, 0n, NEVER, NONE, 27n, NONE, NONE], "latest");
  const [answer] = await rpc.batch([["eth_call", [{ from: campaign, ...call }, block]]], { settle: true });
  return (revertData(answer) ?? "0x").length >= 10;
}

// --- the ways ---------------------------------------------------------------------------------------------------------

function authorization(domain, nonce, amount, instead) {
  return signed({
    kind: "ReceiveWithAuthorization", calls: "Campaign.depositWithAuthorization", domain, instead,
    how: ["Payment", "by one signature and one transaction", "it lets this campaign take this amount once, within an hour; no allowance is left behind"],
    label: "Your wallet first asks for a signature over this amount for this campaign; it costs nothing.",
    message: ({ account, app: { run } }, until) => ({ from: account, to: run.campaign, value: amount, validAfter: 0n, validBefore: until, nonce }),
    values: ({ account }, until, signature) => [account, amount, 0n, until, nonce, ...signature],
  });
}

function permit(domain, nonce, amount, instead) {
  return signed({
    kind: "Permit", calls: "Campaign.depositWithPermit", domain, instead,
    how: ["Payment", "by one signature and one transaction", "it allows the campaign exactly this amount, within an hour"],
    label: "Your wallet first asks for a signature that lets the campaign take exactly this amount; it costs nothing.",
    message: ({ account, app: { run } }, until) => ({ owner: account, spender: run.campaign, value: amount, nonce, deadline: until }),
    values: (_, until, signature) => [amount, until, ...signature],
  });
}

/** A step that has the wallet sign typed data and gives the call that brings it; `instead` where the wallet cannot. A signature serves until it runs out. */
function signed({ kind, calls, domain, how, label, message, values, instead }) {
  let ready = null;
  const call = (context, until, signature) => ({ to: context.app.run.campaign, name: calls, values: values(context, until, signature), value: 0n });
  const step = {
    label, doing: "Your wallet asks you to sign. It costs nothing.",
    async run(context) {
      const now = await timeOf(context.app);
      if (ready !== null && now + HURRY_S < ready.until) return call(context, ready.until, ready.signature);
      const until = now + LIFE_S;
      const signature = await sign(context, kind, domain, message(context, until));
      if (signature === null) {
        context.tell(`This wallet cannot sign that. ${instead.doing}`);
        return instead.run(context);
      }
      ready = { until, signature };
      return call(context, until, signature);
    },
  };
  return { calls, how, first: [step] };
}

/** The chain's time by the wallet's own node, where that can be asked: the page's may lie, and a signature would outlast what the person was told. */
async function timeOf({ wallet, snapshot }) {
  try {
    return BigInt((await wallet.request("eth_getBlockByNumber", ["latest", false])).timestamp);
  } catch {
    return snapshot.time;
  }
}

/** [v, r, s] of the account's signature; null where the wallet signs no typed data, or is a contract that signs in its own way. */
async function sign({ app: { wallet }, account }, kind, domain, message) {
  const listed = (name) => FIELDS[name].split(", ").map((field) => field.split(" ")).map(([key, type]) => ({ name: key, type }));
  const types = { [kind]: listed(kind) };
  const text = JSON.stringify({ types: { EIP712Domain: listed("EIP712Domain").filter(({ name }) => name in domain), ...types }, primaryType: kind, domain, message },
    (_, value) => (typeof value === "bigint" ? value.toString() : value));
  let signature;
  try {
    signature = await wallet.request("eth_signTypedData_v4", [account, text]);
  } catch (error) {
    if (declined(error)) throw error;
    return null;
  }
  const { verifyTypedData } = await ethers();
  try {
    if (verifyTypedData(domain, types, message, signature).toLowerCase() !== account) return null;
  } catch { return null; }
  const [r, s] = decode([["", "bytes32"], ["", "bytes32"]], signature.slice(0, 130));
  const v = BigInt(`0x${signature.slice(130, 132)}`);
  return [v < 27n ? v + 27n : v, r, s];
}

function allowance(token, spender, amount, name) {
  return {
    label: `This token needs two transactions: first you allow ${name} to take exactly this amount, then you send what is shown here.`,
    doing: `First transaction: your wallet asks you to allow ${name} exactly this amount.`,
    async run(context) {
      const { app: { rpc, transactions, nextLook }, account } = context;
      const [allowed] = await views(rpc, [[token, "ERC20.allowance", [account, spender]]], "latest");
      if (allowed >= amount) return;  // it was given before something else went wrong
      const give = async (value, title) => {
        await stands(context);
        const hash = await sendCall(context, { to: token, name: "ERC20.approve", values: [spender, value], value: 0n }, title);
        await transactions.mined(hash, nextLook);
      };
      if (allowed > 0n && (await refuses(rpc, token, account, spender, amount))) {
        context.tell(`This token changes an allowance from nothing only: your wallet first asks you to take back what you have allowed ${name} before.`);
        await give(0n, `Take back what ${name} was allowed`);
        context.tell(this.doing);
      }
      await give(amount, `Allow ${name} to take it`);
    },
  };
}

/** Whether a token would not allow that now. */
async function refuses(rpc, token, account, spender, amount) {
  const [, [call, block]] = request(token, "ERC20.approve", [spender, amount], "latest");
  const [answer] = await rpc.batch([["eth_call", [{ from: account, ...call }, block]]], { settle: true });
  return answer instanceof RpcError ? reverted(answer) : answer !== "0x" && BigInt(answer) === 0n;
}
