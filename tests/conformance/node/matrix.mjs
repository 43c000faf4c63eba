// matrix-js-sdk as a user with pushers: one JSON array of calls in, one of results out.
//
//   in   {"options": {...}, "calls": [["setPusher", {...}], ["removePusher", "key", "app"], ...]}
//   out  [{"value"} | {"error": {errcode, status, message, retryAfterMs}}, ...]
//
// Calls are made one after the other. What the SDK logs goes to standard error.

for (const name of ['log', 'info', 'debug', 'trace']) console[name] = console.error;
const { createClient } = await import('matrix-js-sdk');

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const { options, calls } = JSON.parse(Buffer.concat(chunks).toString());
const client = createClient(options);

async function made([method, ...given]) {
  try {
    return { value: await client[method](...given) };
  } catch (error) {
    const { errcode, httpStatus: status, message } = error;
    const retryAfterMs = error.getRetryAfterMs?.() ?? null;
    return { error: { errcode, status, message, retryAfterMs } };
  }
}

const results = [];
for (const call of calls) results.push(await made(call));
process.stdout.write(JSON.stringify(results));
process.exit(0); // the SDK keeps timers
