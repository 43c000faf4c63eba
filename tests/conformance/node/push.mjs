// ably-js as an administrator of push: one JSON array of calls in, one JSON array of results out.
//
//   in   {"options": {...}, "calls": [["deviceRegistrations.save", ...arguments], ...]}
//   out  [{"value"} | {"pages": [[...], ...]} | {"error": {code, statusCode}}, ...]
//
// Calls are made one after the other, on push.admin or, with "channel:NAME.", on a channel. What is
// paged is read to its end.

import Ably from 'ably';

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const { options, calls } = JSON.parse(Buffer.concat(chunks).toString());
const rest = new Ably.Rest({ ...options, logLevel: 0 });

function targetOf(path) {
  const steps = path.split('.');
  const method = steps.pop();
  const start = steps[0]?.startsWith('channel:')
    ? rest.channels.get(steps.shift().slice('channel:'.length))
    : rest.push.admin;
  return [steps.reduce((inner, step) => inner[step], start), method];
}

async function pagesOf(page) {
  const pages = [];
  for (; page; page = page.hasNext() ? await page.next() : null) pages.push(page.items);
  return pages;
}

async function made([path, ...given]) {
  const [target, method] = targetOf(path);
  try {
    const value = await target[method](...given);
    return typeof value?.hasNext === 'function' ? { pages: await pagesOf(value) } : { value };
  } catch ({ code, statusCode, message }) {
    return { error: { code, statusCode, message } };
  }
}

const results = [];
for (const call of calls) results.push(await made(call));
process.stdout.write(JSON.stringify(results));
