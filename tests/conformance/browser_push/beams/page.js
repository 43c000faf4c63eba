// What the tests have the page do with the Beams SDK, as an application would. Each function gives
// plain values.

let client = null;
const showings = new Inbox();
const reports = new Inbox();

navigator.serviceWorker.addEventListener("message", ({ data: { kind, ...told } }) => {
  ({ shown: showings, reported: reports })[kind].add(told);
});

// The browser subscribes to the broker's key, and the SDK registers what it got. Gives the device.
async function start(options) {
  client = new PusherPushNotifications.Client(options);
  await client.start();
  return device();
}

// As the SDK knows it; `endpoint`: where it is pushed to.
async function device() {
  const subscription = await (await registration()).pushManager.getSubscription();
  return {
    id: await client.getDeviceId(),
    user: await client.getUserId(),
    state: await client.getRegistrationState(),
    endpoint: subscription?.endpoint ?? null,
  };
}

// What a client gives by that method, of arguments that are plain too.
async function sdk(method, ...given) {
  return client[method](...given);
}

// With a token of the page's own server.
async function setUser(user, url) {
  await client.setUserId(user, new PusherPushNotifications.TokenProvider({ url }));
}

// The next that the worker has shown.
async function nextShown() {
  return showings.take();
}

async function click(title) {
  (await registration()).active.postMessage({ clicked: title });
}

// What came of the next that the worker reported.
async function nextReport() {
  return reports.take();
}
