// with_fetch.mjs URL KEY BODY: buy with the official client for fetch.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// What npm installed lies in a cache, not beside this file.
const require = createRequire(`${process.env.PACKAGES}/package.json`);
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { wrapFetchWithPaymentFromConfig } = await load("@x402/fetch");
const { ExactEvmScheme } = await load("@x402/evm");
const { privateKeyToAccount } = await load("viem/accounts");

const [url, key, body] = process.argv.slice(2);
const fetchWithPayment = wrapFetchWithPaymentFromConfig(fetch, {
  schemes: [{ network: "eip155:*", client: new ExactEvmScheme(privateKeyToAccount(key)) }],
});
const answer = await fetchWithPayment(url, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body,
});

console.log(
  JSON.stringify({
    status: answer.status,
    headers: Object.fromEntries(answer.headers),
    body: await answer.json(),
  }),
);
