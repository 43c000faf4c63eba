// The Node SDK for servers of Beams: one JSON array of calls in, one JSON array of results out.
//
//   in   {"options": {...}, "calls": [["publishToInterests", ...arguments], ...]}
//   out  [{"value"} | {"nothing": true} | {"error": message}, ...]
//
// Calls are made one after the other. What it warns of goes to standard error.

import PushNotifications from '@pusher/push-notifications-server';

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const { options, calls } = JSON.parse(Buffer.concat(chunks).toString());
const client = new PushNotifications(options);

async function made([method, ...given]) {
  try {
    const value = await client[method](...given);
    return value === undefined ? { nothing: true } : { value };
  } catch ({ message }) {
    return { error: message };
  }
}

const results = [];
for (const call of calls) results.push(await made(call));
process.stdout.write(JSON.stringify(results));
