// What every page has for the tests: how they ask it, what it waits for, and what the browser shows.

// What arrived and was not taken yet.
function Inbox() {
  const waiting = [];
  let wake = () => {};
  this.add = (value) => {
    waiting.push(value);
    wake();
  };
  this.take = async () => {
    while (!waiting.length) await new Promise((resolve) => (wake = resolve));
    return waiting.shift();
  };
}

// `work` is the name of a function of this page.
async function asked(work, given) {
  try {
    return { value: (await window[work](...given)) ?? null };
  } catch ({ name, message, code }) {
    return { thrown: { name, message, code: code ?? null } };
  }
}

async function registration() {
  return navigator.serviceWorker.getRegistration("/");
}

// What the browser shows now.
async function shown() {
  const found = await (await registration()).getNotifications();
  return found.map(({ title, body, icon, data }) => ({ title, body, icon, data }));
}
