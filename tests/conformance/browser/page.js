// What the tests have the page do, with ably-js mostly. Each function gives plain values. There is
// one connection, `realtime`, which `connect` opens.

let realtime = null;
const states = new Observed();
const inbox = new Observed();
const presence = new Observed();

// What arrived and was not taken yet.
function Observed() {
  const waiting = [];
  let wake = () => {};
  this.add = (value) => {
    waiting.push(value);
    wake();
  };
  this.until = async (wanted) => {
    const seen = [];
    while (!seen.length || !wanted(seen.at(-1), seen)) {
      if (!waiting.length) await new Promise((resolve) => (wake = resolve));
      seen.push(waiting.shift());
    }
    return seen;
  };
}

async function asked(work, ...given) {
  try {
    return { value: (await work(...given)) ?? null };
  } catch ({ name, message, code, statusCode }) {
    return { thrown: { name, message, code: code ?? null, status: statusCode ?? null } };
  }
}

// By `way`: a key; a token that was requested before; or a signed request for one, made when ably-js
// asks, which it exchanges itself.
async function credentials(way, key, options) {
  if (way === "key") return { key };
  const { auth } = new Ably.Rest({ ...options, key });
  const who = { clientId: options.clientId };
  if (way === "token") return { tokenDetails: await auth.requestToken(who) };
  return {
    authCallback: (params, done) =>
      auth.createTokenRequest({ ...params, ...who }).then((made) => done(null, made), done),
  };
}

async function connect(way, key, { recover, ...options }, state = "connected") {
  if (recover) options.recover = (_, answer) => answer(true);
  realtime = new Ably.Realtime({
    ...options,
    ...(await credentials(way, key, options)),
    autoConnect: false,
  });
  realtime.connection.on((change) => states.add(change));
  realtime.connect();
  return reaches(state);
}

async function reaches(state) {
  const seen = await states.until(({ current }) => current === state || current === "failed");
  const { current, reason } = seen.at(-1);
  return { state: current, id: realtime.connection.id ?? null, code: reason?.code ?? null };
}

async function attach(channel) {
  const target = realtime.channels.get(channel);
  await target.presence.subscribe((member) => presence.add(member));
  await target.subscribe((message) => inbox.add(message));
  return target.state;
}

async function publish(channel, name, data) {
  const { serials } = await realtime.channels.get(channel).publish(name, data);
  return serials;
}

async function publishBytes(channel, name, bytes) {
  return publish(channel, name, new Uint8Array(bytes).buffer);
}

async function take(count) {
  return (await inbox.until((_, seen) => seen.length === count)).map(told);
}

async function history(channel) {
  return (await realtime.channels.get(channel).history()).items.map(told).reverse();
}

function told({ name, data, serial }) {
  const bytes = data instanceof ArrayBuffer;
  return { name, serial, data: bytes ? { bytes: [...new Uint8Array(data)] } : data };
}

async function enter(channel, data) {
  await realtime.channels.get(channel).presence.enter(data);
}

// Over the connection, and over REST.
async function members(channel) {
  const live = await realtime.channels.get(channel).presence.get();
  const asked = await realtime.rest.channels.get(channel).presence.get();
  return [live, asked.items].map((list) => list.map(({ clientId, data }) => [clientId, data]));
}

async function happens(clientId, action) {
  await presence.until((member) => member.clientId === clientId && member.action === action);
}

async function close() {
  realtime.close();
  return (await reaches("closed")).state;
}

async function publishOverRest(options, channel, name, data) {
  await new Ably.Rest(options).channels.get(channel).publish(name, data);
}

async function request(options, method, path, body) {
  const reply = await new Ably.Rest(options).request(method, path, 5, {}, body);
  const { statusCode, errorCode, errorMessage, items } = reply;
  return { statusCode, errorCode, errorMessage, items };
}

// As code other than ably-js would ask, and what the browser lets it read of the reply.
async function fetched(url, { size, ...options }) {
  if (size) options.body = new Uint8Array(size);
  const reply = await fetch(url, options);
  const { error } = await reply.json();
  return [reply.status, Number(reply.headers.get("X-Ably-ErrorCode")), error?.code ?? 0];
}
