// How a deposit is paid: ether as value; tokens by a signed permit in one transaction where the token takes it, else by an allowance.

import { decode } from "./abi.js";
import { plain, sendCall } from "./actions.js";
import { ethers } from "./crypto.js";
import { declined } from "./errors.js";
import { views } from "./run.js";

const PERMIT = {
  Permit: [
    { name: "owner", type: "address" }, { name: "spender", type: "address" }, { name: "value", type: "uint256" },
    { name: "nonce", type: "uint256" }, { name: "deadline", type: "uint256" },
  ],
};
const DOMAIN = [
  { name: "name", type: "string" }, { name: "version", type: "string" }, { name: "chainId", type: "uint256" },
  { name: "verifyingContract", type: "address" },
];
const PERMIT_LIFE_S = 3600n;

/** The call and the steps before it for a deposit of `amount`. */
export async function planDeposit(app, amount) {
  const { run, rpc, wallet } = app;
  const campaign = run.campaign;
  const call = { to: campaign, name: "Campaign.deposit", values: [amount], value: run.asset.native ? amount : 0n };
  if (run.asset.native) return { call, first: [] };
  const token = run.asset.address;
  const [allowance] = await views(rpc, [[token, "ERC20.allowance", [wallet.account, campaign]]], "latest");
  if (allowance >= amount) return { call, first: [] };
  const domain = await permitDomain(app, token);
  return { call, first: [domain ? permitStep(domain, token, amount) : allowanceStep(token, amount)] };
}

/** The EIP-712 domain of a token's permits: the one that hashes to its DOMAIN_SEPARATOR. Null where none does. */
async function permitDomain({ rpc, run, wallet }, token) {
  const [nonce, separator, told, name, version] = await views(rpc, [
    [token, "ERC20.nonces", [wallet.account]], [token, "ERC20.DOMAIN_SEPARATOR"], [token, "ERC20.eip712Domain"],
    [token, "ERC20.name"], [token, "ERC20.version"],
  ], "latest", { settle: true }).catch(() => []);
  if (nonce == null || separator == null) return null;
  const here = { chainId: run.chainId, verifyingContract: token };
  const shown = told?.name ?? name ?? "";
  const candidates = [{ name: shown, version: told?.version ?? version ?? "1", ...here }, { name: shown, ...here }, here];
  const { TypedDataEncoder } = await ethers();
  const domain = candidates.find((one) => TypedDataEncoder.hashDomain(one) === separator);
  return domain === undefined ? null : { domain, nonce };
}

function permitStep({ domain, nonce }, token, amount) {
  return {
    label: "Your wallet first asks for a signature that lets the campaign take exactly this amount; it costs nothing.",
    doing: "Your wallet asks you to sign the permit. It costs nothing.",
    async run({ app }) {
      const { run, wallet, snapshot } = app;
      const deadline = snapshot.time + PERMIT_LIFE_S;
      const message = { owner: wallet.account, spender: run.campaign, value: amount, nonce, deadline };
      const text = JSON.stringify({ types: { EIP712Domain: DOMAIN.filter(({ name }) => name in domain), ...PERMIT }, primaryType: "Permit", domain, message },
        (_, value) => (typeof value === "bigint" ? value.toString() : value));
      let signature;
      try {
        signature = await wallet.request("eth_signTypedData_v4", [wallet.account, text]);
      } catch (error) {
        if (declined(error)) throw error;
        return allowanceStep(token, amount).run({ app });  // a wallet that signs no typed data, or a contract account
      }
      const [r, s] = decode([["", "bytes32"], ["", "bytes32"]], signature.slice(0, 130));
      const v = BigInt(`0x${signature.slice(130, 132)}`);
      return { to: run.campaign, name: "Campaign.depositWithPermit", values: [amount, deadline, v < 27n ? v + 27n : v, r, s], value: 0n };
    },
  };
}

function allowanceStep(token, amount) {
  return {
    label: "This token needs two transactions: first you allow the campaign to take exactly this amount, then you deposit.",
    doing: "First transaction: your wallet asks you to allow the campaign exactly this amount.",
    async run({ app }) {
      const call = { to: token, name: "ERC20.approve", values: [app.run.campaign, amount], value: 0n };
      const hash = await sendCall(app, call);
      app.transactions.add({ hash, from: app.wallet.account, title: "Allow the deposit", call: plain(app, call) });
      await app.transactions.mined(hash, app.nextLook);
    },
  };
}
