"use strict";
// npm solc kept loaded, for whoever compiles many times: a standard-JSON request a line on stdin, an answer a line on
// stdout, in order. Imports are never looked up: a request carries every source that it needs. A compiler that runs out
// of memory throws, which ends this process: its caller starts another.
const readline = require("node:readline");
const solc = require("solc");

readline.createInterface({ input: process.stdin, terminal: false }).on("line", (line) => {
  process.stdout.write(`${solc.compile(line).replace(/\n/g, "")}\n`);
});
