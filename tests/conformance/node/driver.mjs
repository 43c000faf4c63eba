// ably-js on a leash: newline-delimited JSON in, newline-delimited JSON out.
//
//   in   {"id": 1, "do": "publish", ...arguments}     a command, answered once
//        {"answer": 2, "value" | "error"}             what a question of ours is answered
//   out  {"id": 1, "value" | "error"}
//        {"observer": 3, "value"}                     something that a command asked to be told of
//        {"question": 2, "client": 1}                 ably-js wants a token for this client
//
// Bytes travel as {"$bytes": base64}. Nothing else is written to standard output.

import readline from 'node:readline';
import Ably from 'ably';
import vcdiff from '@ably/vcdiff-decoder';

const clients = new Map();
const questions = new Map();
let asked = 0;

const write = (record) => process.stdout.write(JSON.stringify(record) + '\n');

const errorOf = (error) =>
  error && { message: String(error.message), code: error.code, statusCode: error.statusCode };

const bytesOut = (data) =>
  Buffer.isBuffer(data) || data instanceof ArrayBuffer || ArrayBuffer.isView(data)
    ? { $bytes: Buffer.from(data).toString('base64') }
    : data;

const bytesIn = (data) =>
  data && typeof data === 'object' && '$bytes' in data ? Buffer.from(data.$bytes, 'base64') : data;

function messageOf(message) {
  const { id, name, clientId, connectionId, timestamp, serial, extras, action, encoding } = message;
  const { version, annotations } = message;
  const data = bytesOut(message.data);
  return {
    id, name, data, clientId, connectionId, timestamp, serial, extras, action, encoding, version,
    annotations,
  };
}

function annotationOf({ action, type, name, serial, messageSerial, clientId, data }) {
  return { action, type, name, serial, messageSerial, clientId, data };
}

function changeOf(change, event) {
  const { previous, current, resumed, hasBacklog } = change;
  return { previous, current, event, resumed, hasBacklog, error: errorOf(change.reason) };
}

function tell(observer, convert) {
  return function (value) {
    write({ observer, value: convert(value, this?.event) });
  };
}

function askForToken(client) {
  return (_params, done) => {
    const question = ++asked;
    questions.set(question, ({ value, error }) =>
      error ? done(new Ably.ErrorInfo(error.message, error.code, error.statusCode), null) : done(null, value),
    );
    write({ question, client });
  };
}

const clientOf = (command) => clients.get(command.client);
const channelOf = (command) => clientOf(command).channels.get(command.channel);
const messagesIn = (messages) => messages.map((message) => ({ ...message, data: bytesIn(message.data) }));
const optionsIn = (options) =>
  options.cipher ? { ...options, cipher: { key: bytesIn(options.cipher.key) } } : options;

async function pageOf(asking) {
  return (await asking).items.map(messageOf);
}

const commands = {
  open({ client, options, asks, observer }) {
    const realtime = new Ably.Realtime({
      ...options,
      ...(asks ? { authCallback: askForToken(client) } : {}),
      autoConnect: false,
      disableConnectivityCheck: true,
      transports: ['web_socket'],
      plugins: { vcdiff },
      logLevel: 1,
      logHandler: (text) => process.stderr.write(text + '\n'),
    });
    clients.set(client, realtime);
    realtime.connection.on(tell(observer, changeOf));
  },
  connect: (command) => clientOf(command).connect(),
  close: (command) => clientOf(command).close(),
  forget: (command) => void clients.delete(command.client),
  ping: (command) => clientOf(command).connection.ping(),
  authorize: async (command) => void (await clientOf(command).auth.authorize()),
  connection(command) {
    const { auth, connection } = clientOf(command);
    const { id, key, state, connectionManager } = connection;
    return {
      id,
      key,
      state,
      clientId: auth.clientId,
      details: connectionManager.connectionDetails,
      recoveryKey: connection.createRecoveryKey(),
    };
  },
  channel(command) {
    const { channels } = clientOf(command);
    channels.get(command.channel, optionsIn(command.options)).on(tell(command.observer, changeOf));
  },
  setOptions: (command) => channelOf(command).setOptions(optionsIn(command.options)),
  attach: async (command) => void (await channelOf(command).attach()),
  detach: (command) => channelOf(command).detach(),
  attachment(command) {
    const { state, modes, params } = channelOf(command);
    return { state, modes, params };
  },
  subscribe: async (command) =>
    void (await channelOf(command).subscribe(tell(command.observer, messageOf))),
  publish: async (command) => (await channelOf(command).publish(messagesIn(command.messages)))?.serials,
  history: (command) => pageOf(channelOf(command).history(command.params)),
  status: (command) => channelOf(command).status(),
  watchPresence: async (command) =>
    void (await channelOf(command).presence.subscribe(tell(command.observer, messageOf))),
  presence: async (command) =>
    void (await channelOf(command).presence[command.method](...command.arguments.map(bytesIn))),
  members: async (command) => (await channelOf(command).presence.get(command.params)).map(messageOf),
  derive({ channel, filter, options, ...command }) {
    return clientOf(command).channels.getDerived(channel, { filter }, optionsIn(options)).name;
  },
  watchChannel: (command) => void channelOf(command).on(tell(command.observer, changeOf)),
  change: async (command) =>
    (await channelOf(command)[command.verb](messagesIn([command.message])[0], command.operation ?? undefined))
      .versionSerial,
  message: async (command) => messageOf(await channelOf(command).getMessage(command.serial)),
  versions: (command) => pageOf(channelOf(command).getMessageVersions(command.serial)),
  annotate: async (command) =>
    void (await channelOf(command).annotations[command.verb](command.serial, command.annotation)),
  annotations: async (command) =>
    (await channelOf(command).annotations.get(command.serial, command.params)).items.map(annotationOf),
  watchAnnotations: async (command) =>
    void (await channelOf(command).annotations.subscribe(tell(command.observer, annotationOf))),
  presenceHistory: (command) => pageOf(channelOf(command).presence.history(command.params)),
};

async function run({ id, do: name, ...command }) {
  try {
    write({ id, value: (await commands[name](command)) ?? null });
  } catch (error) {
    write({ id, error: errorOf(error) });
  }
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const record = JSON.parse(line);
  if ('answer' in record) {
    questions.get(record.answer)(record);
    questions.delete(record.answer);
  } else {
    run(record);
  }
}).on('close', () => process.exit(0));
