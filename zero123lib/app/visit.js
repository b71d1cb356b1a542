/* The results of this visit: what they were made of is kept in the browser, and survives a reload.

   Gradio runs this as a function body with `element`, `trigger`, `props` and `upload`. By the event
   "result-made" come {kind, image, settings, path, shown, caption}: the picture's file data, what
   all settings were, the camera's path, and the address of what is shown of it. Nothing of it goes
   to the server before somebody chooses a result: then its picture is uploaded, unless the page
   still has it, and "input" goes out with all that it was made of as the value. */
const MOST = 24, MOST_VIEWS = 12, MOST_BYTES = 64 * 2 ** 20, MOST_HOURS = 24;
const SIDE_PX = 96;
const strip = element.querySelector("section");
const list = element.querySelector("ol");
/* Newest first, and their pictures by where these lie; a browser that keeps nothing has them for as
   long as the page is there. */
let results = [];
let pictures = new Map();

/* ---- the browser's store ---- */
const store = new Promise((resolve) => {
  try {
    const opening = indexedDB.open("zero123lib", 1);
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore("results", { keyPath: "id" });
      opening.result.createObjectStore("pictures", { keyPath: "path" });
    };
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = opening.onblocked = () => resolve(null);
  } catch (error) { resolve(null); }
});
async function within(mode, act) {
  const database = await store;
  if (!database) return null;
  return new Promise((resolve) => {
    try {
      const parts = database.transaction(["results", "pictures"], mode);
      const asked = act(parts.objectStore("results"), parts.objectStore("pictures"));
      parts.oncomplete = () => resolve(asked);
      parts.onerror = parts.onabort = () => resolve(null);
    } catch (error) { resolve(null); }
  });
}
async function recall() {
  const found = await within("readonly", (some, others) => [some.getAll(), others.getAll()]);
  if (!found) return;
  const [some, others] = found.map((one) => one.result);
  results = [...results, ...some.sort((a, b) => b.at - a.at)];
  for (const one of others) if (!pictures.has(one.path)) pictures.set(one.path, one);
  const count = results.length;
  bound();
  show();
  if (results.length < count) keep(); /* what is too old leaves the store, too */
}
const keep = () => within("readwrite", (some, others) => {
  some.clear();
  others.clear();
  results.forEach((one) => some.put(one));
  pictures.forEach((one) => others.put(one));
});

/* What is too much, or too old, goes; so do pictures that no result was made of. */
function bound() {
  const since = Date.now() - MOST_HOURS * 3600e3;
  const counted = new Set();
  let count = 0, views = 0, bytes = 0;
  results = results.filter((one) => {
    const picture = pictures.get(one.image.path);
    if (!picture || count >= MOST || one.at < since) return false;
    if (one.kind === "view" && ++views > MOST_VIEWS) return false;
    if (!counted.has(picture.path)) bytes += picture.blob.size;
    if (bytes > MOST_BYTES) return false;
    counted.add(picture.path);
    count += 1;
    return true;
  });
  pictures = new Map([...pictures].filter(([path]) => counted.has(path)));
}

/* ---- what is seen ---- */
async function small(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: SIDE_PX, height: SIDE_PX });
  const share = SIDE_PX / Math.max(image.naturalWidth, image.naturalHeight);
  const [wide, high] = [image.naturalWidth * share, image.naturalHeight * share];
  const brush = canvas.getContext("2d");
  brush.fillStyle = "#fff";
  brush.fillRect(0, 0, SIDE_PX, SIDE_PX);
  brush.drawImage(image, (SIDE_PX - wide) / 2, (SIDE_PX - high) / 2, wide, high);
  return canvas.toDataURL("image/webp", 0.9);
}
function show() {
  strip.hidden = !results.length;
  list.replaceChildren(...results.map((one) => {
    const item = document.createElement("li");
    const button = Object.assign(document.createElement("button"), { type: "button" });
    const image = Object.assign(new Image(), { src: one.thumbnail, alt: "" });
    const words = Object.assign(document.createElement("span"), { textContent: one.caption });
    const kind = Object.assign(document.createElement("b"), { textContent: one.kind });
    words.id = `result-${one.id}`;
    button.append(image, kind);
    button.setAttribute("aria-label", `${one.kind} of ${one.image.orig_name}`);
    button.setAttribute("aria-describedby", words.id);
    button.addEventListener("click", () => restore(one));
    item.append(button, words);
    return item;
  }));
}

/* ---- to keep, and to bring back ---- */
let turn = Promise.resolve();
async function add({ kind, image, settings, path, shown, caption }) {
  const picture = pictures.get(image.path) ?? {
    path: image.path, blob: await (await fetch(image.url)).blob(),
  };
  const one = {
    id: crypto.getRandomValues(new Uint32Array(2)).join("-"), at: Date.now(), kind, settings, path,
    caption, thumbnail: await small(shown),
    image: { path: image.path, orig_name: image.orig_name || "your picture" },
  };
  pictures.set(picture.path, picture);
  const same = (other) => other.kind === kind && other.image.path === image.path
    && JSON.stringify([other.settings, other.path]) === JSON.stringify([settings, path]);
  results = [one, ...results.filter((other) => !same(other))];
  bound();
  show();
  await keep();
}
async function restore(one) {
  const page = (window.zero123 ??= {});
  let image = null;
  if (page.latest !== one.image.path) {
    const { path, blob } = pictures.get(one.image.path);
    const found = await upload(new File([blob], one.image.orig_name, { type: blob.type }));
    image = { ...found, orig_name: one.image.orig_name, meta: { _type: "gradio.FileData" } };
    /* The server may have another place for it by now. */
    if (found.path !== path) {
      pictures.set(found.path, { path: found.path, blob });
      for (const other of results) if (other.image.path === path) other.image.path = found.path;
      bound();
      keep();
    }
    if (found.path === page.latest) image = null;
  }
  props.value = { kind: one.kind, image, settings: one.settings, path: one.path };
  trigger("input");
}
document.addEventListener("result-made", ({ detail }) => {
  turn = turn.then(() => add(detail)).catch(() => { /* a picture that is gone by now */ });
});
document.addEventListener("picture-again", () => trigger("release"));
element.querySelector(".forget").addEventListener("click", () => {
  results = [];
  pictures.clear();
  show();
  keep();
});
turn = turn.then(recall);
