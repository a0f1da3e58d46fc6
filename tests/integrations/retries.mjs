// What the real clients of OpenAI and Anthropic make of a refusal: prints the waits between their attempts as JSON.
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const [kind, url] = process.argv.slice(2);
const waits = [];
const setTimeoutReally = globalThis.setTimeout;
// The clients' waits between attempts are noted instead of waited for. Longer timers are their time-outs, and those of
// Node itself keep its connections: they stay.
globalThis.setTimeout = (then, ms, ...rest) => {
  if (ms > 0 && ms < 599_000 && new Error().stack.includes("node_modules")) {
    waits.push(ms);
    return setTimeoutReally(then, 0, ...rest);
  }
  return setTimeoutReally(then, ms, ...rest);
};
const options = { apiKey: "sk-acme", maxRetries: 2, timeout: 600_000 };
const messages = [{ role: "user", content: "Hi" }];
let status = 0;
try {
  if (kind === "openai") {
    await new OpenAI({ ...options, baseURL: `${url}/v1` }).chat.completions.create({ model: "llama", messages });
  } else {
    const client = new Anthropic({ ...options, baseURL: url });
    await client.messages.create({ model: "llama", max_tokens: 5, messages });
  }
} catch (error) {
  status = error.status;
}
console.log(JSON.stringify({ status, waits }));
process.exit(0);
