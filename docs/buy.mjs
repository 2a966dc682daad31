// Buy a run: `node buy.mjs URL BODY`. The private key of the wallet is in WALLET_KEY.
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { wrapFetchWithPaymentFromConfig } from "@x402/fetch";
import { ExactEvmScheme } from "@x402/evm";
import { privateKeyToAccount } from "viem/accounts";

const [url, body] = process.argv.slice(2);
const wallet = privateKeyToAccount(process.env.WALLET_KEY);
const payingFetch = wrapFetchWithPaymentFromConfig(fetch, {
  schemes: [{ network: "eip155:*", client: new ExactEvmScheme(wallet) }],
});
// A name of this purchase: under one name a run is bought once, however often it is asked for.
const name = randomUUID();
const ask = () =>
  payingFetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": name },
    body,
  });

// The shop's answer. Asks again while nobody can say whether the payment was taken.
async function buy() {
  for (const seconds of [2, 4, 8, 16, 32]) {
    try {
      const answer = await ask();
      if (answer.status !== 503 || !(await answer.clone().text()).includes("not_ready")) return answer;
    } catch (problem) {
      console.error("Once more:", problem);
    }
    await pause(seconds * 1000);
  }
  return ask();
}

let answer = await buy();
const statusUrl = answer.status === 202 && (await answer.clone().json()).statusUrl;
while (statusUrl && [202, 503].includes(answer.status)) {
  // It takes longer: the same body, at an address of its own, where 503 is no more than "not now".
  await pause(2000);
  answer = await fetch(statusUrl);
}
if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
console.log(JSON.stringify(await answer.json(), null, 2));
