// What the tests have the page do: with ably-js and its plugin for push, as an application would.
// Each function gives plain values.

let realtime = null;
const pushed = new Inbox();
const reports = new Inbox();

navigator.serviceWorker.addEventListener("message", ({ data }) => pushed.add(data));

// The device becomes one that notifications are pushed to: the browser subscribes to the broker's
// key, and ably-js registers what it got. Gives the device's id, and where it is pushed to.
async function activate(options) {
  realtime = new Ably.Realtime({
    ...options,
    plugins: { Push: AblyPushPlugin },
    pushServiceWorkerUrl: "/worker.js",
    autoConnect: false,
  });
  await realtime.push.activate();
  const { id } = await realtime.getDevice();
  const subscription = await subscribed();
  return { id, endpoint: subscription.endpoint };
}

// Without ably-js: another application's key, or one that is no more. Gives a device's recipient,
// which does not say to which key the browser subscribed.
async function subscribe(key) {
  const worker = await navigator.serviceWorker.register("/worker.js");
  await navigator.serviceWorker.ready;
  const made = await worker.pushManager.subscribe({
    userVisibleOnly: true,
    applicationServerKey: key,
  });
  const { endpoint, keys } = made.toJSON();
  return { transportType: "web", targetUrl: endpoint, encryptionKey: keys };
}

async function deactivate() {
  await realtime.push.deactivate();
}

async function subscribeDevice(channel) {
  await realtime.channels.get(channel).push.subscribeDevice();
}

async function subscribed() {
  return (await registration()).pushManager.getSubscription();
}

// As when a user takes back that a site may notify: the broker is not told.
async function unsubscribe() {
  return (await subscribed()).unsubscribe();
}

// The next that the worker was given and has shown.
async function next() {
  return pushed.take();
}

// From now on, what the broker says of notifications that did not arrive.
async function watch(options) {
  const watching = new Ably.Realtime(options).channels.get("[meta]log:push");
  await watching.subscribe(({ data }) => reports.add(data));
}

async function report() {
  return reports.take();
}
