// Buy a run: `node buy.mjs URL BODY`. The private key of the wallet is in WALLET_KEY.
import { wrapFetchWithPaymentFromConfig } from "@x402/fetch";
import { ExactEvmScheme } from "@x402/evm";
import { privateKeyToAccount } from "viem/accounts";

const [url, body] = process.argv.slice(2);
const wallet = privateKeyToAccount(process.env.WALLET_KEY);
const payingFetch = wrapFetchWithPaymentFromConfig(fetch, {
  schemes: [{ network: "eip155:*", client: new ExactEvmScheme(wallet) }],
});

let answer = await payingFetch(url, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body,
});
while (answer.status === 202) {
  // It takes longer: the same body, at an address of its own.
  const { statusUrl } = await answer.json();
  await new Promise((resolve) => setTimeout(resolve, 2000));
  answer = await fetch(statusUrl);
}
if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
console.log(JSON.stringify(await answer.json(), null, 2));
