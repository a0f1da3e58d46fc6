// The console in the browser: local times, dialogs, and parts that are read again while somebody looks.
// Every page works without this, but for what changes by itself.
"use strict";

const EVERY_MS = 1000;
const PAUSE_MAX_MS = 15000;
const RETRY_MS = 2000;
const NO_ANSWER = "The console does not answer.";

function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const when = new Date(time.dateTime);
    if (!time.dataset.local && !Number.isNaN(when.getTime())) {
      time.dataset.local = "yes";
      time.textContent = when.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
    }
  }
}

function withPart(address, part) {
  const url = new URL(address, location.href);
  url.searchParams.set("part", part);
  return url;
}

// What is read again by itself: a status of 400 and above comes in a header, since browsers write such answers down as errors.
async function poll(address, headers = {}) {
  const answer = await fetch(address, { headers: { "x-poll": "1", ...headers }, redirect: "manual" });
  return { answer, status: Number(answer.headers.get("x-status")) || answer.status };
}

// What somebody types or has opened is worth more than news: such a part waits.
function isInUse(element) {
  const active = document.activeElement;
  return (
    (element.contains(active) && active.matches("input, select, textarea")) ||
    element.querySelector("details[open]") !== null
  );
}

function replaceContent(element, html) {
  const reached = () => [...element.querySelectorAll("a[href], button, summary")];
  const place = reached().indexOf(document.activeElement);
  const target = place < 0 ? null : document.activeElement.getAttribute("href");
  element.innerHTML = html;
  localTimes(element);
  if (place >= 0) {
    const again = reached().find((one) => target && one.getAttribute("href") === target) || reached()[place];
    if (again) again.focus({ preventScroll: true });
  }
}

const away = document.getElementById("away");
let awayIsOurs = false;

function sayAway(text) {
  if (!away || (away.textContent.trim() && !awayIsOurs)) return;
  if (!awayIsOurs) {
    const paragraph = document.createElement("p");
    const said = document.createElement("strong");
    said.textContent = text;
    paragraph.append(said, ` So it has been since ${new Date().toLocaleTimeString()}; what you see is older.`);
    away.replaceChildren(paragraph);
    awayIsOurs = true;
  }
}

function sayBack() {
  if (awayIsOurs) {
    away.replaceChildren();
    awayIsOurs = false;
  }
}

function keepLive(element) {
  const live = element.dataset.live;
  const address = live.startsWith("/") ? live : withPart(location.href, live);
  const everyMs = Number(element.dataset.every) || EVERY_MS;
  let etag = "";
  let pauseMs = everyMs;
  async function read() {
    if (!document.hidden && !isInUse(element)) {
      try {
        const { answer, status } = await poll(address, etag ? { "if-none-match": etag } : {});
        if (status === 401 && !hasTyped()) return location.reload();
        if (status === 200) {
          const html = await answer.text();
          if (!isInUse(element)) {
            etag = answer.headers.get("etag") || "";
            replaceContent(element, html);
          }
        }
        if (status === 200 || status === 304) {
          pauseMs = everyMs;
          sayBack();
        } else {
          pauseMs = Math.min(pauseMs * 2, PAUSE_MAX_MS);
          // A redirection, as of a proxy in front that asks for a sign-in of its own, has no text.
          sayAway((await answer.text()) || NO_ANSWER);
        }
      } catch {
        pauseMs = Math.min(pauseMs * 2, PAUSE_MAX_MS);
        sayAway(NO_ANSWER);
      }
    }
    setTimeout(read, pauseMs);
  }
  setTimeout(read, everyMs);
}

async function openDialog(link) {
  const dialog = document.getElementById("dialog");
  const { answer, status } = await poll(withPart(link.href, "confirm"));
  if (status !== 200) throw new Error(`The answer has status ${status}.`);
  dialog.innerHTML = await answer.text();
  localTimes(dialog);
  dialog.addEventListener("close", () => link.focus(), { once: true });
  dialog.showModal();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-dialog]");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
    event.preventDefault();
    openDialog(link).catch(() => { location.href = link.href; });
    return;
  }
  const leave = event.target.closest("dialog [data-close]");
  if (leave) {
    event.preventDefault();
    leave.closest("dialog").close();
    return;
  }
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    navigator.clipboard.writeText(document.getElementById(copy.dataset.copy).textContent).then(() => {
      copy.textContent = "Copied";
    });
    return;
  }
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  }
});

// What was typed is kept in this tab until it has arrived: where the session had ended, it stands in its form again after
// the next sign-in of the same person. Secrets are not kept.
const TYPED = "typed";
const FIELDS = "input:not([type=hidden], [type=password]), select, textarea";

function keepTyped(form) {
  const who = document.body.dataset.who;
  if (who === undefined) return;
  const touched = [...form.querySelectorAll(FIELDS)].filter((one) => !isAsItWas(form, one));
  const values = touched.map((one) => [one.name, one.value, one.checked === true]);
  sessionStorage.setItem(TYPED, JSON.stringify({ who, action: form.action, values }));
}

// A field that nobody touched stays as the next page has it: somebody else may have changed it meanwhile.
function isAsItWas(form, field) {
  const was = form.elements.namedItem(`was.${field.name}`);
  return was !== null && was.value === (isChoice(field) && !field.checked ? "" : field.value);
}

function restoreTyped() {
  const typed = JSON.parse(sessionStorage.getItem(TYPED));
  if (!typed) return;
  const who = document.body.dataset.who;
  if (who === undefined) {
    if (new URLSearchParams(location.search).get("ended") !== "change") return;
    sessionStorage.setItem(TYPED, JSON.stringify({ ...typed, ended: true }));
    return;
  }
  sessionStorage.removeItem(TYPED);
  if (!typed.ended || typed.who !== who) return;
  const form = [...document.querySelectorAll("form[method=post]")].find((one) => one.action === typed.action);
  if (!form || form.querySelector(".error")) return;
  const fields = [...form.querySelectorAll(FIELDS)];
  for (const [name, value, checked] of typed.values) {
    const field = fields.find((one) => one.name === name && (!isChoice(one) || one.value === value));
    if (!field) continue;
    if (isChoice(field)) field.checked = checked;
    else field.value = value;
  }
}

function isChoice(field) {
  return field.type === "checkbox" || field.type === "radio";
}

// A second press while the first is under way does nothing; the service would do it once in any case.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "yes";
  keepTyped(form);
});

addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// A form that reads itself again when something in it is chosen.
document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-auto]");
  if (form) form.requestSubmit();
});

function hasTyped() {
  return [...document.querySelectorAll("form[method=post] :is(input, textarea)")].some(
    (field) => field.type !== "hidden" && (field.value !== field.defaultValue || field.checked !== field.defaultChecked),
  );
}

// A page that could not be read: it is loaded again once it can be, but not under somebody's hands.
function retry() {
  poll(location.href)
    .then(({ answer, status }) => {
      const isBack = status === 200 || answer.type === "opaqueredirect";
      if (isBack && !hasTyped()) location.reload();
      else setTimeout(retry, RETRY_MS);
    })
    .catch(() => setTimeout(retry, RETRY_MS));
}

localTimes(document);
restoreTyped();
// On a narrow screen the navigation is one line, which may begin far before the page that is shown.
document.querySelector("nav.side [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
for (const element of document.querySelectorAll("[data-live]")) keepLive(element);
if (document.querySelector("[data-retry]")) setTimeout(retry, RETRY_MS);
