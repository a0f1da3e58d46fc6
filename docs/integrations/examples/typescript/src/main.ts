/**
 * Meters one request, with standard input as the model: each line says how many tokens it generated so far.
 *
 *     printf '40\n131\n' | npm start -- 127.0.0.1:7402 accounts/acme/services/default-llama r1 812
 */
import { createInterface } from "node:readline";

import { securityFromEnvironment } from "./security.js";
import { Denied, Meter } from "./tallygate.js";

const [addresses, service, requestId, inputTokens] = process.argv.slice(2);
if (!addresses || !service || !requestId || !inputTokens) {
  console.error("usage: npm start -- HOST:PORT[,HOST:PORT...] SERVICE REQUEST_ID INPUT_TOKENS");
  process.exit(64);
}

const meter = new Meter(addresses.split(","), securityFromEnvironment());
try {
  const usage = { inputTokens: BigInt(inputTokens) };
  const request = await meter.authorize({ service, requestId, usage });
  console.log(`allowed: ${request.freeTokens} output tokens for now`);
  for await (const line of createInterface({ input: process.stdin })) {
    if (!(await request.progress(Number(line)))) {
      console.log(`stop: ${request.denial?.reason ?? "the last grant is used up"}`);
      break;
    }
    console.log(`${line} generated: ${request.freeTokens} more for now`);
  }
  const receipt = await request.finish();
  const [input, output] = [receipt?.usage?.inputTokens, receipt?.usage?.outputTokens];
  console.log(`receipt: ${input} input and ${output} output tokens, ${receipt?.costNanos} nanos`);
} catch (error) {
  console.log(error instanceof Denied ? `denied: ${error.reason}: ${error.message}` : String(error));
  process.exitCode = 1;
} finally {
  await meter.close();
}
