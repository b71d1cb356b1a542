/* The camera globe: drag, wheel, pinch or arrow keys move the target camera around the object.

   Gradio runs this as a function body with `element`, `trigger`, `props` and `watch`. The value is
   {elevation, azimuth, zoom, input, around, sliders, image, lowest}: degrees and scene units
   relative to the picture's camera, whose own elevation is `input`; `around` lists the azimuths of
   an orbit, `sliders` the elevation, azimuth and zoom that the sliders were last seen at, `image`
   is the address of the object's image, `lowest` the elevation of the lowest camera that the model
   was trained with. From the page come the events "camera-rests" and "camera-let-go". Two go out: "input" while the camera moves, "release" once it rests. The picture of the view, #view, is
   dragged the other way round: there the hand holds the object, here it holds the camera. */
const LOOK_FROM = { azimuth: -38, elevation: 24 };
const INPUT_RADIUS = 1.85;
const MAX_ZOOM = 0.5;
const DEGREES_PER_PX = 0.6;
const REST_MS = 350;
/* A finger on the view that has moved so far, more along the page than across, scrolls the page. */
const SCROLL_PX = 6;
/* How often to look whether the sliders have followed, and how long to wait for them. */
const SYNC_MS = 60;
const PATIENCE_MS = 3000;

const canvas = element.querySelector("canvas");
const readout = element.querySelector("output");
const beyond = element.querySelector(".beyond");
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const rad = (degrees) => (degrees * Math.PI) / 180;
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));
const wrap = (degrees) => ((((degrees + 180) % 360) + 360) % 360) - 180;
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const sphere = (elevation, azimuth, radius = 1) => [
  radius * Math.cos(rad(elevation)) * Math.cos(rad(azimuth)),
  radius * Math.cos(rad(elevation)) * Math.sin(rad(azimuth)),
  radius * Math.sin(rad(elevation)),
];
/* Right and up of a camera on the sphere that looks at the origin. */
const axes = (elevation, azimuth) => ({
  right: [-Math.sin(rad(azimuth)), Math.cos(rad(azimuth)), 0],
  up: [
    -Math.sin(rad(elevation)) * Math.cos(rad(azimuth)),
    -Math.sin(rad(elevation)) * Math.sin(rad(azimuth)),
    Math.cos(rad(elevation)),
  ],
});

const eye = sphere(LOOK_FROM.elevation, LOOK_FROM.azimuth);
const { right: eyeRight, up: eyeUp } = axes(LOOK_FROM.elevation, LOOK_FROM.azimuth);
let picture = null;
let pictureSource = "";

/* Where the hand has moved the camera to. The sliders follow a moment later, and until they have,
   what comes back from them is old. */
let held = null;
const value = () => ({
  elevation: 0, azimuth: 0, zoom: 0, input: 0, around: [], sliders: [], image: "", lowest: -90,
  ...(props.value || {}),
  ...held,
});
const followed = () => {
  const v = value();
  return [v.elevation, v.azimuth, v.zoom].every((x, i) => Math.abs(x - v.sliders[i]) < 1e-6);
};

function describe(v) {
  const side = v.azimuth % 180 === 0 ? "" : v.azimuth > 0 ? " right" : " left";
  const height = v.elevation > 0 ? " up" : v.elevation < 0 ? " down" : "";
  const far = v.zoom > 0 ? ", farther" : v.zoom < 0 ? ", closer" : "";
  return `${Math.abs(Math.round(v.azimuth))}°${side}, ${Math.abs(Math.round(v.elevation))}°${height}${far}`;
}

function draw() {
  const size = canvas.clientWidth;
  if (!size) return;
  const scale = window.devicePixelRatio || 1;
  canvas.width = canvas.height = Math.round(size * scale);
  const g = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  const ink = style.getPropertyValue("--globe-ink").trim() || "#334155";
  const accent = style.getPropertyValue("--globe-accent").trim() || "#4f46e5";
  const body = style.getPropertyValue("--globe-body").trim() || "#f1f5f9";
  const unit = size * 0.41;
  const at = (p) => [size / 2 + dot(p, eyeRight) * unit, size / 2 - dot(p, eyeUp) * unit];
  g.setTransform(scale, 0, 0, scale, 0, 0);
  g.clearRect(0, 0, size, size);
  g.lineJoin = "round";

  g.beginPath();
  g.arc(size / 2, size / 2, unit, 0, 2 * Math.PI);
  g.fillStyle = body;
  g.fill();

  const path = (points, front) => {
    g.beginPath();
    let open = false;
    for (const p of points) {
      if (dot(p, eye) >= 0 !== front) { open = false; continue; }
      const [x, y] = at(p);
      if (open) g.lineTo(x, y); else g.moveTo(x, y);
      open = true;
    }
    g.stroke();
  };
  const ring = (elevation) =>
    Array.from({ length: 121 }, (_, i) => sphere(elevation, i * 3));
  const meridian = (azimuth) =>
    Array.from({ length: 61 }, (_, i) => sphere(-90 + i * 3, azimuth));
  const grid = (front) => {
    g.strokeStyle = ink;
    for (const elevation of [-60, -30, 0, 30, 60]) {
      g.lineWidth = elevation === 0 ? 1.4 : 0.8;
      g.globalAlpha = (front ? 0.3 : 0.1) * (elevation === 0 ? 1.6 : 1);
      path(ring(elevation), front);
    }
    g.lineWidth = 0.8;
    g.globalAlpha = front ? 0.3 : 0.1;
    for (let azimuth = 0; azimuth < 360; azimuth += 30) path(meridian(azimuth), front);
    g.globalAlpha = 1;
  };

  const v = value();
  const target = {
    elevation: clamp(v.input + v.elevation, -90, 90), azimuth: v.azimuth,
    radius: (INPUT_RADIUS + v.zoom) / INPUT_RADIUS,
  };
  const camera = (c, colour, half, width, label) => {
    const p = sphere(c.elevation, c.azimuth, c.radius);
    const { right, up } = axes(c.elevation, c.azimuth);
    const behind = dot(p, eye) < 0;
    const inner = p.map((x) => x * 0.8);
    const corner = (i, j) => inner.map((x, k) => x + half * (i * right[k] + j * up[k]));
    const corners = [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([i, j]) => at(corner(i, j)));
    const tip = at(p);
    g.globalAlpha = behind ? 0.45 : 1;
    g.strokeStyle = g.fillStyle = colour;
    g.lineWidth = width;
    g.setLineDash([3, 4]);
    g.beginPath();
    g.moveTo(...at(inner));
    g.lineTo(size / 2, size / 2);
    g.stroke();
    g.setLineDash([]);
    g.beginPath();
    corners.forEach((c, i) => (i ? g.lineTo(...c) : g.moveTo(...c)));
    g.closePath();
    for (const c of corners) { g.moveTo(...tip); g.lineTo(...c); }
    g.stroke();
    g.globalAlpha *= 0.18;
    g.beginPath();
    corners.forEach((c, i) => (i ? g.lineTo(...c) : g.moveTo(...c)));
    g.fill();
    g.globalAlpha = behind ? 0.45 : 1;
    g.beginPath();
    g.arc(tip[0], tip[1], width * 2.2, 0, 2 * Math.PI);
    g.fill();
    if (label) {
      g.font = `500 12px ${style.fontFamily}`;
      g.textAlign = tip[0] < size / 2 ? "left" : "right";
      g.fillText(label, clamp(tip[0], 6, size - 6), clamp(tip[1] + 20, 14, size - 6));
    }
    g.globalAlpha = 1;
    return behind;
  };
  const orbit = (front) => {
    g.fillStyle = accent;
    for (const azimuth of v.around) {
      const p = sphere(target.elevation, azimuth, target.radius);
      if (dot(p, eye) >= 0 !== front) continue;
      g.globalAlpha = front ? 0.75 : 0.3;
      g.beginPath();
      g.arc(...at(p), 3.2, 0, 2 * Math.PI);
      g.fill();
    }
    g.globalAlpha = 1;
  };
  const object = () => {
    const { right, up } = axes(v.input, 0);
    const half = 0.6;
    const span = (d) => [dot(d, eyeRight) * unit, -dot(d, eyeUp) * unit];
    const [rx, ry] = span(right);
    const [ux, uy] = span(up);
    if (picture) {
      const w = picture.naturalWidth || 1;
      g.save();
      g.translate(size / 2, size / 2);
      g.transform((2 * half * rx) / w, (2 * half * ry) / w, (-2 * half * ux) / w,
        (-2 * half * uy) / w, -half * rx + half * ux, -half * ry + half * uy);
      g.drawImage(picture, 0, 0, w, w);
      g.restore();
    } else {
      g.fillStyle = ink;
      g.globalAlpha = 0.18;
      g.beginPath();
      g.arc(size / 2, size / 2, unit * 0.16, 0, 2 * Math.PI);
      g.fill();
      g.globalAlpha = 1;
    }
  };

  const source = { elevation: v.input, azimuth: 0, radius: 1 };
  const late = [];
  const untrained = (front) => {
    const step = 6;
    g.beginPath();
    for (let low = -90; low < v.lowest; low += step) {
      const high = Math.min(low + step, v.lowest);
      for (let azimuth = 0; azimuth < 360; azimuth += step) {
        const middle = sphere((low + high) / 2, azimuth + step / 2);
        if (dot(middle, eye) >= 0 !== front) continue;
        [[low, 0], [low, step], [high, step], [high, 0]].forEach(([up, right], i) => {
          const [x, y] = at(sphere(up, azimuth + right));
          if (i) g.lineTo(x, y); else g.moveTo(x, y);
        });
        g.closePath();
      }
    }
    g.fillStyle = style.getPropertyValue("--globe-untrained").trim() || "#b45309";
    g.globalAlpha = front ? 0.26 : 0.12;
    g.fill();
    g.globalAlpha = 1;
  };
  untrained(false);
  grid(false);
  orbit(false);
  for (const [c, ...look] of [[source, ink, 0.1, 1.4, "picture"], [target, accent, 0.15, 2, ""]]) {
    if (dot(sphere(c.elevation, c.azimuth), eye) < 0) camera(c, ...look);
    else late.push([c, ...look]);
  }
  object();
  untrained(true);
  grid(true);
  orbit(true);
  for (const look of late) camera(...look);
  const words = describe(v);
  readout.textContent = words;
  const low = target.elevation < v.lowest;
  beyond.textContent = low ? `Below ${v.lowest}°: not trained there, a guess` : "";
  canvas.setAttribute("aria-valuetext", low ? `${words}, ${beyond.textContent}` : words);
  canvas.setAttribute("aria-valuenow", v.azimuth);
  for (const image of document.querySelectorAll("#view img")) {
    image.alt = `The object seen from ${words}`;
  }
}

/* ---- moving ---- */
let announced = false;
let resting = 0;

function move(change) {
  const v = value();
  const next = { ...v, ...change };
  next.elevation = Math.round(clamp(next.elevation, Math.max(-90, -90 - v.input), Math.min(90, 90 - v.input)));
  next.azimuth = Math.round(wrap(next.azimuth));
  next.zoom = Math.round(clamp(next.zoom, -MAX_ZOOM, MAX_ZOOM) * 20) / 20;
  if (next.elevation === v.elevation && next.azimuth === v.azimuth && next.zoom === v.zoom) return;
  held = { elevation: next.elevation, azimuth: next.azimuth, zoom: next.zoom };
  props.value = next;
  draw();
  document.dispatchEvent(new Event("camera-taken"));
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
    begin();
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
      const { elevation, azimuth, zoom } = start.v;
      move({ elevation, azimuth, zoom });
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
  ArrowDown: ["elevation", -5], "+": ["zoom", -0.05], "=": ["zoom", -0.05], "-": ["zoom", 0.05],
};
function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Home") {
    move({ elevation: 0, azimuth: 0, zoom: 0 });
  } else if (KEYS[event.key]) {
    const [name, step] = KEYS[event.key];
    move({ [name]: value()[name] + step * (event.shiftKey && name !== "zoom" ? 3 : 1) });
  } else return;
  event.preventDefault();
  rest(REST_MS);
}
canvas.addEventListener("keydown", onKey);

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
document.addEventListener("camera-let-go", () => { clearTimeout(resting); held = null; });
new ResizeObserver(draw).observe(canvas);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTimeout(draw, 50));
new MutationObserver(draw).observe(document.body, { attributeFilter: ["class"] });
load();
draw();
