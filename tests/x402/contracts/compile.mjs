// Compiles TestUsd.sol and writes what is planted into TestUsd.json, which is committed, so that no
// test needs a compiler. In an empty folder: npm i --ignore-scripts solc@0.8.37, then run this there:
//   node path/to/tests/x402/contracts/compile.mjs
import { createRequire } from "node:module";
import { readFileSync, writeFileSync } from "node:fs";

const solc = createRequire(`${process.cwd()}/`)("solc");
const here = (name) => new URL(name, import.meta.url);
const input = {
  language: "Solidity",
  sources: { "TestUsd.sol": { content: readFileSync(here("TestUsd.sol"), "utf8") } },
  settings: {
    optimizer: { enabled: true, runs: 200 },
    viaIR: true,
    evmVersion: "shanghai",
    metadata: { bytecodeHash: "none", appendCBOR: false },
    outputSelection: { "*": { "*": ["evm.deployedBytecode.object"] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const problems = output.errors ?? [];
for (const problem of problems) console.error(problem.formattedMessage);
if (problems.some((problem) => problem.severity === "error")) process.exit(1);

const code = output.contracts["TestUsd.sol"].TestUsd.evm.deployedBytecode.object;
const made = { contract: "TestUsd", compiler: solc.version(), settings: input.settings, deployedBytecode: `0x${code}` };
delete made.settings.outputSelection;
writeFileSync(here("TestUsd.json"), `${JSON.stringify(made, null, 2)}\n`);
console.log(`${code.length / 2} bytes`);
