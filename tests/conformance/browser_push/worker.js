// Shows what is pushed, and tells the page so once it is shown.

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("push", (event) => event.waitUntil(show(event.data.json())));

async function show(pushed) {
  const { title, ...options } = pushed.notification;
  await self.registration.showNotification(title, { ...options, data: pushed.data });
  for (const page of await self.clients.matchAll({ includeUncontrolled: true })) {
    page.postMessage(pushed);
  }
}
