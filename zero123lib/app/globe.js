/* Moving the camera of the globe; follows `globe_drawing.js` in one function body.

   Events go out to the server: "input" while the camera moves, "release" once it rests, "edit" as
   the picture's own camera is moved. From the page come "camera-rests", "camera-let-go", "camera-to"
   with a place, "source-up" and "path-shown". The picture of the view, #view, is dragged the other
   way round: there the hand holds the object, here it holds the camera. A keyframe of the path that
   is taken here goes with it. The picture's own camera is
   taken by its handle, up and down: so its elevation is set. */
const MAX_ZOOM = 0.5;
const DEGREES_PER_PX = 0.6;
const REST_MS = 350;
/* A finger on the view that has moved so far, more along the page than across, scrolls the page. */
const SCROLL_PX = 6;
/* So near to a keyframe or to the handle, it is what is taken. */
const GRAB_PX = 15;
/* How often to look whether the sliders have followed, and how long to wait for them. */
const SYNC_MS = 60;
const PATIENCE_MS = 3000;

let announced = false;
let resting = 0;

function move(change) {
  const v = value();
  const next = { ...v, ...change };
  next.input = Math.round(clamp(next.input, -90, 90));
  next.elevation = Math.round(clamp(next.elevation, Math.max(-90, -90 - next.input), Math.min(90, 90 - next.input)));
  next.azimuth = Math.round(wrap(next.azimuth));
  next.zoom = Math.round(clamp(next.zoom, -MAX_ZOOM, MAX_ZOOM) * 20) / 20;
  const names = ["elevation", "azimuth", "zoom", "input"];
  if (names.every((name) => next[name] === v[name])) return;
  /* Before it is drawn: whoever hears where it is knows whose hand moved it. */
  document.dispatchEvent(new Event("camera-taken"));
  sourceUp = next.input;
  hold(next);
  if (next.input !== v.input) trigger("edit");
}
function hold(next) {
  const { elevation, azimuth, zoom } = next;
  held = { elevation, azimuth, zoom };
  props.value = next;
  draw();
  if (announced) return;
  announced = true;
  requestAnimationFrame(() => {
    announced = false;
    props.value = value();
    trigger("input");
  });
}
/* Asks for the view once the sliders have followed: the request carries their numbers. */
function rest(ms, patience = PATIENCE_MS) {
  clearTimeout(resting);
  resting = setTimeout(() => {
    if (!followed() && patience > 0) { rest(SYNC_MS, patience - SYNC_MS); return; }
    held = null;
    draw();
    trigger("release");
  }, ms);
}

/* What a finger on the globe takes: the picture's camera, a keyframe, or else the camera. */
function taken(event) {
  const box = canvas.getBoundingClientRect();
  const far = ([x, y]) => Math.hypot(event.clientX - box.left - x, event.clientY - box.top - y);
  const near = dots.map((one, i) => [far(one.place) + (one.front ? 0 : GRAB_PX / 2), i]);
  const [closest] = near.sort((a, b) => a[0] - b[0]);
  if (closest && closest[0] <= GRAB_PX) return { keyframe: closest[1] };
  return { source: far(handle) <= GRAB_PX };
}

function draggable(area, sign, accepts) {
  const fingers = new Map();
  let start = null;
  let moved = false;
  const begin = () => {
    const points = [...fingers.values()];
    const apart = points.length > 1
      ? Math.hypot(points[0].x - points[1].x, points[0].y - points[1].y) : 0;
    start = { v: value(), x: points[0].x, y: points[0].y, apart };
  };
  area.addEventListener("pointerdown", (event) => {
    if (event.button || !accepts(event)) return;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    try { area.setPointerCapture(event.pointerId); } catch (error) { /* a finger already gone */ }
    const what = sign > 0 && fingers.size === 1 ? taken(event) : {};
    if (what.keyframe !== undefined) {
      document.dispatchEvent(new CustomEvent("keyframe-picked", { detail: what.keyframe }));
    }
    begin();
    start.source = what.source;
    clearTimeout(resting);
  });
  area.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId) || !start) return;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const points = [...fingers.values()];
    if (!moved && sign < 0 && event.pointerType === "touch" && points.length === 1) {
      const [across, along] = [points[0].x - start.x, points[0].y - start.y].map(Math.abs);
      if (Math.max(across, along) < SCROLL_PX) return;
      if (along > across) { fingers.clear(); start = null; return; }
    }
    moved = true;
    if (points.length > 1) {
      const apart = Math.hypot(points[0].x - points[1].x, points[0].y - points[1].y);
      move({ zoom: start.v.zoom - (apart - start.apart) / 250 });
      return;
    }
    const dx = points[0].x - start.x;
    const dy = points[0].y - start.y;
    if (start.source) {
      move({ input: start.v.input - dy * DEGREES_PER_PX });
      return;
    }
    move({
      azimuth: start.v.azimuth + sign * dx * DEGREES_PER_PX,
      elevation: start.v.elevation - sign * dy * DEGREES_PER_PX,
    });
    if (sign < 0) tilt(dx, dy);
  });
  const end = (event) => {
    if (!fingers.delete(event.pointerId)) return;
    if (fingers.size) { begin(); return; }
    start = null;
    if (moved || held) rest(SYNC_MS);
    moved = false;
  };
  for (const name of ["pointerup", "lostpointercapture"]) area.addEventListener(name, end);
  /* The browser has taken the finger to scroll the page with: the camera stays where it was. */
  area.addEventListener("pointercancel", (event) => {
    if (fingers.has(event.pointerId) && start && moved) {
      const { elevation, azimuth, zoom, input } = start.v;
      move({ elevation, azimuth, zoom, input });
      for (const image of document.querySelectorAll("#view img")) settle(image);
    }
    end(event);
  });
}

draggable(canvas, 1, () => true);
canvas.addEventListener("wheel", (event) => {
  if (document.activeElement !== canvas) return;
  event.preventDefault();
  move({ zoom: value().zoom + Math.sign(event.deltaY) * 0.05 });
  rest(REST_MS);
}, { passive: false });
canvas.addEventListener("pointerdown", () => canvas.focus({ preventScroll: true }));

const KEYS = {
  ArrowLeft: ["azimuth", -5], ArrowRight: ["azimuth", 5], ArrowUp: ["elevation", 5],
  ArrowDown: ["elevation", -5], PageUp: ["input", 5], PageDown: ["input", -5],
  "+": ["zoom", -0.05], "=": ["zoom", -0.05], "-": ["zoom", 0.05],
};
function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Home") {
    move({ elevation: 0, azimuth: 0, zoom: 0 });
  } else if (event.key === "k" || event.key === "Delete") {
    document.dispatchEvent(new Event(event.key === "k" ? "keyframe-added" : "keyframe-removed"));
    event.preventDefault();
    return;
  } else if (KEYS[event.key]) {
    const [name, step] = KEYS[event.key];
    move({ [name]: value()[name] + step * (event.shiftKey && name !== "zoom" ? 3 : 1) });
  } else return;
  event.preventDefault();
  rest(REST_MS);
}
canvas.addEventListener("keydown", onKey);
canvas.addEventListener("dblclick", () => document.dispatchEvent(new Event("keyframe-added")));

/* ---- the view, which can be turned by hand too ---- */
let tilted = null;
function tilt(dx, dy) {
  const image = document.querySelector("#view img");
  if (!image || calm.matches) return;
  tilted ||= { x: dx, y: dy };
  const turn = clamp((dx - tilted.x) / 8, -14, 14);
  const lean = clamp((dy - tilted.y) / 8, -14, 14);
  image.style.transform = `perspective(700px) rotateY(${turn}deg) rotateX(${-lean}deg)`;
}
function settle(image) {
  tilted = null;
  image.style.transform = "";
}
function adopt(view) {
  draggable(view, -1, (event) => event.target.tagName === "IMG");
  const look = () => {
    for (const image of view.querySelectorAll("img")) {
      image.draggable = false;
      image.alt = `The object seen from ${describe(value())}`;
      if (!image.dataset.held) {
        image.dataset.held = "yes";
        image.addEventListener("load", () => settle(image));
      }
    }
  };
  new MutationObserver(look).observe(view, { childList: true, subtree: true, attributeFilter: ["src"] });
  look();
}
(function find() {
  const view = document.querySelector("#view");
  if (view) adopt(view); else setTimeout(find, 200);
})();

function load() {
  const source = value().image || "";
  if (source === pictureSource) return;
  pictureSource = source;
  picture = null;
  if (!source) { draw(); return; }
  const next = new Image();
  next.onload = () => { picture = next; draw(); };
  next.src = source;
}

watch("value", () => { load(); draw(); });
document.addEventListener("camera-rests", () => rest(0));
/* To where a path or the history says, to the last digit. */
document.addEventListener("camera-to", ({ detail }) => {
  const { elevation, azimuth, zoom } = detail;
  clearTimeout(resting);
  hold({ ...value(), elevation, azimuth, zoom });
  if (detail.rest) rest(REST_MS);
});
document.addEventListener("source-up", ({ detail }) => { sourceUp = Number(detail) || 0; draw(); });
document.addEventListener("path-shown", ({ detail }) => { way = detail; draw(); });
document.addEventListener("camera-let-go", () => { clearTimeout(resting); held = null; });
new ResizeObserver(draw).observe(canvas);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTimeout(draw, 50));
new MutationObserver(draw).observe(document.body, { attributeFilter: ["class"] });
load();
draw();
