// Wallets: found by EIP-6963 (and window.ethereum where none announces itself), spoken to by EIP-1193.

import { keep, recall } from "./dom.js";
import { declined, unknownChain } from "./errors.js";
import { chainName } from "./run.js";

const REMEMBERED = "commonweight.wallet";
const ADDED = "commonweight.added.";

/** Whether the page lies within another, which could lay something else over what is to be read before signing. */
export const framed = () => globalThis.top !== globalThis.self;

export class Wallet {
  #found = new Map(); #provider = null; #listeners = []; #told = new Set();

  constructor() {
    this.info = null;
    this.account = null;
    this.chainId = null;
    if (framed()) return;
    globalThis.addEventListener("eip6963:announceProvider", ({ detail }) => {
      if (!detail?.info?.uuid || typeof detail.provider?.request !== "function") return;
      const isNew = !this.#found.has(detail.info.uuid);
      this.#found.set(detail.info.uuid, detail);
      if (isNew) this.#changed();
      if (this.#provider === null && detail.info.rdns === recall("localStorage", REMEMBERED)) this.#resume(detail);
    });
    globalThis.dispatchEvent(new Event("eip6963:requestProvider"));
  }

  /** Wallets to choose from. */
  get choices() {
    if (framed()) return [];
    if (this.#found.size > 0) return [...this.#found.values()];
    if (!globalThis.ethereum?.request) return [];
    return [{ info: { uuid: "legacy", name: "The browser's wallet", rdns: "legacy", icon: "" }, provider: globalThis.ethereum }];
  }

  get connected() {
    return this.account !== null;
  }

  onChange(listener) {
    this.#listeners.push(listener);
  }

  /** Ask the wallet for its account. False when the person declined. */
  async connect({ info, provider }) {
    try {
      await this.#use(info, provider, await provider.request({ method: "eth_requestAccounts" }));
    } catch (error) {
      if (declined(error)) return false;
      throw error;
    }
    keep("localStorage", REMEMBERED, info.rdns);
    return this.connected;
  }

  /** Forget the wallet here; what the wallet itself allows is for the person to change there. */
  disconnect() {
    keep("localStorage", REMEMBERED, null);
    this.#provider = this.info = this.account = this.chainId = null;
    this.#changed();
  }

  /** Whether the wallet was told of a chain by this page, so that its node is no other. */
  toldOf(chainId) {
    return this.#told.has(chainId) || recall("localStorage", `${ADDED}${chainId}`) !== null;
  }

  request(method, params = []) {
    return this.#provider.request({ method, params });
  }

  /** Move the wallet to a chain, adding it where the wallet does not know it. False when the person declined. */
  async switchTo(chainId, rpcUrls) {
    const id = `0x${chainId.toString(16)}`;
    try {
      try {
        await this.request("wallet_switchEthereumChain", [{ chainId: id }]);
      } catch (error) {
        if (!unknownChain(error)) throw error;
        await this.request("wallet_addEthereumChain", [{
          chainId: id, chainName: chainName(chainId), rpcUrls,
          nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
        }]);
        this.#told.add(chainId);
        keep("localStorage", `${ADDED}${chainId}`, "1");
        await this.request("wallet_switchEthereumChain", [{ chainId: id }]);
      }
    } catch (error) {
      if (declined(error)) return false;
      throw error;
    }
    await this.refreshChain();
    return true;
  }

  async refreshChain() {
    this.chainId = BigInt(await this.request("eth_chainId"));
    this.#changed();
  }

  async #resume({ info, provider }) {
    try {
      const accounts = await provider.request({ method: "eth_accounts" });
      if (accounts.length > 0) await this.#use(info, provider, accounts);
    } catch { /* a wallet that is locked or gone: the button is there */ }
  }

  async #use(info, provider, accounts) {
    const chainId = BigInt(await provider.request({ method: "eth_chainId" }));
    if (this.#provider !== provider) this.#listen(provider);
    this.#provider = provider;
    this.info = info;
    this.chainId = chainId;
    this.account = accounts[0]?.toLowerCase() ?? null;
    this.#changed();
  }

  #listen(provider) {
    provider.on?.("accountsChanged", (accounts) => {
      if (this.#provider !== provider) return;
      this.account = accounts[0]?.toLowerCase() ?? null;
      this.#changed();
    });
    provider.on?.("chainChanged", (id) => {
      if (this.#provider !== provider) return;
      this.chainId = BigInt(id);
      this.#changed();
    });
    provider.on?.("disconnect", () => {
      if (this.#provider === provider) this.disconnect();
    });
  }

  #changed() {
    for (const listener of this.#listeners) listener();
  }
}
