// A wallet as a page sees one (EIP-6963, EIP-1193). What it answers is decided by the test, in tests/web/wallet.py.
(() => {
  const listeners = new Map();
  const provider = {
    async request({ method, params = [] }) {
      const { result, error } = JSON.parse(await window.walletRequest(JSON.stringify({ method, params })));
      if (error) throw Object.assign(new Error(error.message), error);
      return result;
    },
    on: (name, listener) => listeners.set(name, [...(listeners.get(name) ?? []), listener]),
    removeListener: (name, listener) => listeners.set(name, (listeners.get(name) ?? []).filter((one) => one !== listener)),
  };
  window.walletEmit = (name, value) => (listeners.get(name) ?? []).forEach((listener) => listener(value));
  const icon = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'><circle cx='4' cy='4' r='4' fill='teal'/></svg>";
  const info = { uuid: "6a4d3b9e-5a0c-4f0e-9f6e-2f2a4c0a7d11", name: "Test Wallet", rdns: "org.example.test", icon };
  const announce = () => window.dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail: Object.freeze({ info, provider }) }));
  window.addEventListener("eip6963:requestProvider", announce);
  announce();
})();
