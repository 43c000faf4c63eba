// The SDK's worker, at our broker. What it has shown, and what came of what it reported, the pages
// are told then; it does neither differently for that.

importScripts("/beams-worker.js", "/endpoint.js");

self.addEventListener("install", () => self.skipWaiting());

async function tell(told) {
  for (const page of await self.clients.matchAll({ includeUncontrolled: true })) {
    page.postMessage(told);
  }
}

const { showNotification } = ServiceWorkerRegistration.prototype;
ServiceWorkerRegistration.prototype.showNotification = async function (title, options) {
  await showNotification.call(this, title, options);
  await tell({ kind: "shown", title });
};

const send = self.fetch; // a name that is not the one which the SDK calls it by
self.fetch = async (url, options) => {
  const told = { kind: "reported", path: new URL(url).pathname, body: JSON.parse(options.body) };
  try {
    const reply = await send(url, options);
    await tell({ ...told, status: reply.status });
    return reply;
  } catch (error) {
    await tell({ ...told, failed: error.message });
    throw error;
  }
};

// No test can click on what a browser without a screen shows: the page asks for what a click makes.
self.addEventListener("message", (asked) => asked.waitUntil(click(asked.data.clicked)));

async function click(title) {
  const [notification] = (await self.registration.getNotifications()).filter(
    (one) => one.title === title,
  );
  self.dispatchEvent(new NotificationEvent("notificationclick", { notification }));
}
