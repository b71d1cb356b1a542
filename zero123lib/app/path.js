/* The path of the camera: keyframes on a line of time, and what plays along it.

   Gradio runs this as a function body with `element`, `trigger`, `props` and `watch`. The path is
   kept here. "input" asks the server for its frames (see path.py), which come by "path-answered".
   Other events of the page: "camera-at" tells where the camera is, "camera-taken" that a hand moves
   it, "camera-to" sends it somewhere, "path-shown" tells the globe and the history what there is,
   "path-to" brings an earlier path back, "keyframe-picked", "-added" and "-removed" come from the
   globe. The keyframe that is chosen goes where the hand moves the camera. */
const find = (name) => element.querySelector(name);
const [bar, scrub, play, words] = [".keys", ".scrub", ".play", "output"].map(find);
const [duration, count, easing, closed] = [".duration", ".count", ".easing", ".closed"].map(find);
const file = find("input[type=file]");
const PLAY = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M4 2.5v11l9-5.5z"/></svg>';
const PAUSE = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M4 3h3v10H4zM9 3h3v10H9z"/></svg>';
/* The least time between two keyframes; after a hand's move the camera is its for so long. */
const APART = 0.005, HAND_MS = 1500, ASK_MS = 90, LOOK_MS = 30;
const page = (window.zero123 ??= {});
const tell = (name, detail) => document.dispatchEvent(new CustomEvent(name, { detail }));
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

let keys = [];
let chosen = -1;
let frames = [], curve = [];
/* This part of the page begins when it is first opened. */
let camera = page.camera ?? { elevation: 0, azimuth: 0, zoom: 0 };
let taken = 0, edit = 0, asking = 0, playing = 0;
/* What was asked last; what of it, beside the keyframes, has not been answered yet. */
let asked = {}, pending = {};

const pose = (key) => ({ elevation: key.elevation_deg, azimuth: key.azimuth_deg, zoom: key.radius });
const keyframe = (at) =>
  ({ at, elevation_deg: camera.elevation, azimuth_deg: camera.azimuth, radius: camera.zoom });
const same = (a, b) => ["elevation", "azimuth", "zoom"].every((k) => Math.abs(a[k] - b[k]) < 1e-6);
const content = () => keys.length ? {
  keyframes: keys.map((key) => ({ ...key })), duration_s: Number(duration.value),
  easing: easing.value, closed: closed.checked,
} : null;

/* What the button that renders it sends. */
page.path = () => ({ path: content(), count: Number(count.value) });

/* ---- what is seen ---- */
function named(key) {
  const side = key.azimuth_deg % 180 === 0 ? "" : key.azimuth_deg > 0 ? " right" : " left";
  const up = key.elevation_deg > 0 ? " up" : key.elevation_deg < 0 ? " down" : "";
  return `${Math.abs(Math.round(key.azimuth_deg))}°${side}, ${Math.abs(Math.round(key.elevation_deg))}°${up}`;
}
function show() {
  while (bar.children.length > keys.length) bar.lastChild.remove();
  while (bar.children.length < keys.length) bar.append(marker());
  keys.forEach((key, i) => {
    const one = bar.children[i];
    one.style.left = `${key.at * 100}%`;
    one.setAttribute("aria-pressed", i === chosen);
    one.setAttribute("aria-label",
      `Keyframe ${i + 1} at ${(key.at * duration.value).toFixed(1)} s: ${named(key)}`);
  });
  const full = frames.length > 0;
  scrub.max = Math.max(0, frames.length - 1);
  play.disabled = scrub.disabled = !full;
  for (const name of [".remove", ".clear", ".save"]) find(name).disabled = !keys.length;
  find(".remove").disabled = chosen < 0;
  words.textContent = !keys.length ? "Take a path by name, or add keyframes where the camera is."
    : chosen < 0 ? `${keys.length} keyframe${keys.length > 1 ? "s" : ""}. Choose one to move it.`
      : `Keyframe ${chosen + 1} goes where you move the camera.`;
  tell("path-shown", { keys: keys.map(pose), curve, chosen, path: content() });
}
function ask(more = {}, wait = 0) {
  edit += 1;
  pending = more;
  clearTimeout(asking);
  asking = setTimeout(() => {
    const { elevation, azimuth, zoom } = camera;
    asked = more;
    props.value = {
      path: content(), count: Number(count.value), edit, start: [elevation, azimuth, zoom], ...more,
    };
    trigger("input");
  }, wait);
}
function changed(wait = 0) {
  keys.sort((a, b) => a.at - b.at);
  show();
  ask({}, wait);
}
function take(path) {
  keys = (path?.keyframes ?? []).map((key) => ({ ...key }));
  chosen = -1;
  if (!path) return;
  duration.value = path.duration_s;
  easing.value = path.easing;
  closed.checked = path.closed;
}

/* ---- keyframes ---- */
function choose(i) {
  stop();
  chosen = i === chosen ? -1 : i;
  show();
  if (chosen >= 0) go(pose(keys[chosen]), true);
}
function squeeze(share) {
  keys.forEach((key) => { key.at *= share; });
}
function add() {
  stop();
  const n = keys.length;
  let at = 0;
  if (chosen >= 0 && chosen < n - 1) at = (keys[chosen].at + keys[chosen + 1].at) / 2;
  else if (n) {
    /* After the last one: the others make room. */
    const share = closed.checked ? n / (n + 1) : (n - 1) / n;
    if (closed.checked || keys[n - 1].at > share - APART) squeeze(share);
    at = closed.checked ? Math.max(share, keys[n - 1].at + APART) : 1;
  }
  const key = keyframe(at);
  keys.push(key);
  keys.sort((a, b) => a.at - b.at);
  chosen = keys.indexOf(key);
  changed();
}
function remove() {
  if (chosen < 0) return;
  stop();
  keys.splice(chosen, 1);
  chosen = -1;
  changed();
}
function place(i, at) {
  const last = keys.length - 1;
  /* From the last keyframe of a closed path back to the first takes time too. */
  const low = i ? keys[i - 1].at + APART : closed.checked ? keys[last].at - 0.99 : 0;
  const high = i < last ? keys[i + 1].at - APART : closed.checked ? keys[0].at + 0.99 : 1;
  keys[i].at = clamp(at, Math.max(0, low), Math.min(1, high));
  changed(ASK_MS);
}
function marker() {
  const one = document.createElement("button");
  one.type = "button";
  const number = () => [...bar.children].indexOf(one);
  let from = null, moved = false;
  one.addEventListener("pointerdown", (event) => {
    from = event.clientX;
    moved = false;
    one.setPointerCapture(event.pointerId);
  });
  one.addEventListener("pointermove", (event) => {
    if (from === null || (!moved && Math.abs(event.clientX - from) < 4)) return;
    moved = true;
    const box = bar.getBoundingClientRect();
    place(number(), (event.clientX - box.left) / box.width);
  });
  for (const name of ["pointerup", "pointercancel"]) one.addEventListener(name, () => { from = null; });
  one.addEventListener("click", () => { if (!moved) choose(number()); moved = false; });
  one.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -0.01, ArrowRight: 0.01 }[event.key];
    if (step) place(number(), keys[number()].at + step);
    else if (event.key === "Delete" || event.key === "Backspace") {
      chosen = number();
      remove();
      find(".add").focus();
    } else return;
    event.preventDefault();
  });
  return one;
}

/* ---- playing: the camera goes on once the view from where it is has come ---- */
function go(to, rest) {
  const hand = taken;
  page.ours = true;
  tell("camera-taken");
  page.ours = false;
  /* Another player that was stopped by this has said that nothing plays. */
  page.playing = Boolean(playing);
  taken = hand;
  tell("camera-to", { ...to, rest });
}
function frame(i, rest) {
  const [elevation, azimuth, zoom] = frames[i];
  scrub.value = i;
  scrub.setAttribute("aria-valuetext", `View ${i + 1} of ${frames.length}`);
  go({ elevation, azimuth, zoom }, rest);
}
function stop() {
  if (!playing) return;
  clearTimeout(playing);
  playing = 0;
  page.playing = false;
  dress();
}
function dress() {
  play.innerHTML = playing ? PAUSE : PLAY;
  play.setAttribute("aria-label", playing ? "Stop the path" : "Play the path");
}
function begin() {
  if (!frames.length) return;
  let i = Number(scrub.value) >= frames.length - 1 ? 0 : Number(scrub.value);
  chosen = -1;
  show();
  page.playing = true;
  const pace = () => (1000 * duration.value) / frames.length;
  const step = () => {
    if (!bar.offsetParent || !frames.length) { stop(); return; }
    if (document.hidden || page.asked?.globe) { playing = setTimeout(step, LOOK_MS); return; }
    i %= frames.length;
    frame(i, false);
    i += 1;
    playing = setTimeout(step, pace());
  };
  playing = setTimeout(step, 0);
  dress();
}

/* ---- the page's events ---- */
document.addEventListener("camera-taken", () => {
  if (page.ours) return;
  taken = performance.now();
  stop();
});
document.addEventListener("camera-at", ({ detail }) => {
  camera = detail;
  if (chosen < 0 || performance.now() - taken > HAND_MS || same(detail, pose(keys[chosen]))) return;
  keys[chosen] = keyframe(keys[chosen].at);
  changed(ASK_MS);
});
document.addEventListener("camera-let-go", () => { stop(); chosen = -1; show(); });
document.addEventListener("keyframe-picked", ({ detail }) => {
  if (detail !== chosen) choose(detail);
});
document.addEventListener("keyframe-added", add);
document.addEventListener("keyframe-removed", remove);
document.addEventListener("path-to", ({ detail }) => {
  stop();
  /* No keyframe goes along to where the camera is sent next. */
  chosen = -1;
  if (JSON.stringify(detail) === JSON.stringify(content())) { show(); return; }
  take(detail);
  changed();
});
document.addEventListener("path-refused", () => { pending = {}; });
document.addEventListener("path-answered", ({ detail }) => {
  if (!detail || detail.edit !== edit) return;
  ({ frames, curve } = detail);
  pending = {};
  if (asked.path) {
    const named = typeof asked.path === "string";
    take(named ? { ...detail.path, duration_s: duration.value } : detail.path);
    if (!named && asked.path.frames) count.value = asked.count;
  }
  if (Number(scrub.value) > frames.length - 1) scrub.value = 0;
  show();
  if (detail.file) keep(detail.file);
});
/* A path that a result of the visit was made of; this part may be opened only later. */
function restored() {
  const { path, count: views } = page.path_to_come ?? {};
  page.path_to_come = null;
  if (!path) return;
  stop();
  take(path);
  count.value = views;
  changed();
}
document.addEventListener("path-restored", restored);
function keep(what) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(what, null, 2)], { type: "application/json" }));
  link.download = "transforms.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

for (const button of element.querySelectorAll("[data-preset]")) {
  button.addEventListener("click", () => { stop(); ask({ path: button.dataset.preset }); });
}
for (const field of [duration, count, easing, closed]) {
  field.addEventListener("change", () => {
    if (field.type === "number") {
      field.value = clamp(Number(field.value) || Number(field.defaultValue), field.min, field.max);
    }
    const end = keys.length > 1 ? keys[keys.length - 1].at : 0;
    if (field === closed && end) {
      /* From the last one back to the first takes as long as from one to the next. */
      if (!closed.checked) squeeze(1 / end);
      else if (end > 0.99) squeeze((keys.length - 1) / keys.length);
    }
    show();
    /* A path that is on its way is not lost by this. */
    ask(field === count && pending.count ? { ...pending, count: Number(count.value) } : pending);
  });
}
play.addEventListener("click", () => {
  if (!playing) { begin(); return; }
  stop();
  document.dispatchEvent(new Event("camera-rests"));
});
scrub.addEventListener("input", () => { stop(); chosen = -1; show(); frame(Number(scrub.value), true); });
find(".add").addEventListener("click", add);
find(".remove").addEventListener("click", remove);
find(".clear").addEventListener("click", () => { stop(); take(null); changed(); });
find(".save").addEventListener("click", () => ask({ save: true }));
find(".load").addEventListener("click", () => file.click());
file.addEventListener("change", async () => {
  const [given] = file.files;
  file.value = "";
  if (!given) return;
  stop();
  let path = "no JSON";
  try { path = JSON.parse(await given.text()) || path; } catch (error) { /* the server says what not */ }
  /* As many views as it lists. */
  const listed = path.frames?.length;
  ask({ path, count: listed ? clamp(listed, count.min, count.max) : Number(count.value) });
});
dress();
show();
restored();
