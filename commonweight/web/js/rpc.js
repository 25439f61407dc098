// JSON-RPC over HTTP: batches, several addresses in order, and errors that keep what the node said.

const TIMEOUT_MS = 12_000;
const BATCH = 40;

/** The node answered with an error of its own: `code`, `message` and, of a revert, `data`. */
export class RpcError extends Error {
  constructor({ code, message, data }) {
    super(message ?? "The node gave no reason.");
    this.code = code;
    this.data = data;
  }
}

/** The node answered, and not with what it was asked for; or it lags behind what it has told before. */
export class Nonsense extends Error {}

/** The node answered that it does not answer now. */
class Busy extends Error {}

/** No node could be reached. */
export class Unreachable extends Error {
  constructor(tried) {
    super(`No answer from ${tried.join(", ")}.`);
    this.tried = tried;
  }
}

export class Rpc {
  #asked;

  /** `asked` is a question that is under way already: {url, body, response}. It counts where it is, to the letter, the first one here. */
  constructor(urls, asked = null) {
    this.urls = urls;
    this.#asked = asked;
    this.last = 0;
    this.single = false;
    this.serial = 0;
  }

  /** The node that answered last is not to be trusted with the next question, where there is another. */
  distrust() {
    this.last = (this.last + 1) % this.urls.length;
  }

  async call(method, params = []) {
    return (await this.batch([[method, params]]))[0];
  }

  /** Results in order; the first error is thrown, unless `settle` asks for errors in place. */
  async batch(calls, { settle = false } = {}) {
    const found = [];
    for (let start = 0; start < calls.length; start += BATCH) {
      found.push(...(await this.#send(calls.slice(start, start + BATCH))));
    }
    if (!settle) for (const one of found) if (one instanceof RpcError) throw one;
    return found;
  }

  async #send(calls) {
    const tried = [];
    for (let place = 0; place < this.urls.length; place += 1) {
      const number = (this.last + place) % this.urls.length;
      try {
        const answers = await this.#ask(this.urls[number], calls);
        this.last = number;
        return answers;
      } catch (error) {
        if (error instanceof RpcError) throw error;
        tried.push(`${masked(this.urls[number])}${error instanceof Busy ? " (which says that it is asked too much)" : ""}`);
      }
    }
    throw new Unreachable(tried);
  }

  async #ask(url, calls) {
    if (this.single || calls.length === 1) {
      return Promise.all(calls.map(async (call) => read(await this.#post(url, this.#body(call)))));
    }
    const bodies = calls.map((call) => this.#body(call));
    const answer = await this.#post(url, bodies);
    if (!Array.isArray(answer)) {  // this node takes no batches
      this.single = true;
      return this.#ask(url, calls);
    }
    const byId = new Map(answer.map((one) => [one.id, one]));
    return bodies.map(({ id }) => read(byId.get(id) ?? { error: { message: "The node left a call unanswered." } }));
  }

  async #post(url, content) {
    const body = JSON.stringify(content);
    const asked = this.#asked;
    this.#asked = null;
    const response = await (asked?.url === url && asked.body === body ? asked.response : fetch(url, {
      method: "POST", headers: { "content-type": "application/json" }, body,
      signal: AbortSignal.timeout(TIMEOUT_MS), credentials: "omit", referrerPolicy: "no-referrer",
    }));
    if (response.status === 429) throw new Busy();
    const answer = await response.json();
    if (answer === null || typeof answer !== "object") throw new Error("not JSON-RPC");
    return answer;
  }

  #body([method, params]) {
    this.serial += 1;
    return { jsonrpc: "2.0", id: this.serial, method, params };
  }
}

const read = (answer) => (answer.error ? new RpcError(answer.error) : answer.result);

/** The address without what may be a key: only scheme and host are ever shown. */
export const masked = (url) => {
  try { return new URL(url, location.href).origin; } catch { return "an address that is none"; }
};
