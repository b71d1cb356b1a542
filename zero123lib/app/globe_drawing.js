/* The camera globe: drag, wheel, pinch or arrow keys move the target camera around the object.

   Gradio runs this as a function body with `element`, `trigger`, `props` and `watch`. The value is
   {elevation, azimuth, zoom, around, sliders, image, lowest, input}: degrees and scene units
   relative to the picture's camera, whose own elevation is `input` as it goes out; `around` lists the azimuths of
   an orbit, `sliders` the elevation, azimuth and zoom that the sliders were last seen at, `image`
   is the address of the object's image, `lowest` the elevation of the lowest camera that the model
   was trained with. The files globe_*.js follow one another in one body: this one draws, the next
   moves the camera, the last takes its steps back. */
const LOOK_FROM = { azimuth: -38, elevation: 24 };
const INPUT_RADIUS = 1.85;

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
/* The path as it was last told of; where on the canvas its keyframes and the picture's camera are. */
let way = { keys: [], curve: [], chosen: -1 };
let dots = [];
let handle = [0, 0];
let announcedAt = "";

/* Where the hand has moved the camera to. The sliders follow a moment later, and until they have,
   what comes back from them is old. */
let held = null;
/* The elevation of the picture's own camera, which its slider tells. */
let sourceUp = 0;
const value = () => ({
  elevation: 0, azimuth: 0, zoom: 0, around: [], sliders: [], image: "", lowest: -90,
  ...(props.value || {}),
  ...held, input: sourceUp,
});
const followed = () => {
  const v = value();
  return [v.elevation, v.azimuth, v.zoom].every((x, i) => Math.abs(x - v.sliders[i]) < 1e-6);
};

function describe(v) {
  const side = v.azimuth % 180 === 0 ? "" : v.azimuth > 0 ? " right" : " left";
  const height = v.elevation > 0 ? " up" : v.elevation < 0 ? " down" : "";
  const far = v.zoom > 0 ? ", farther" : v.zoom < 0 ? ", closer" : "";
  const degrees = (x) => Math.abs(Math.round(x * 10) / 10);
  return `${degrees(v.azimuth)}°${side}, ${degrees(v.elevation)}°${height}${far}`;
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
      /* Outwards of the camera, so that it is beside the object and not on it. */
      g.font = `500 12px ${style.fontFamily}`;
      const wide = g.measureText(label).width;
      const [across, along] = [tip[0] - size / 2, tip[1] - size / 2];
      const far = Math.hypot(across, along) || 1;
      const reach = Math.min(wide / 2 / Math.abs(across / far), 14 / Math.abs(along / far)) + 12;
      const wanted = tip[0] + (across / far) * reach;
      const x = clamp(wanted, wide / 2 + 4, size - wide / 2 - 4);
      /* Where the globe leaves too little room beside the camera, below it. */
      const down = tip[1] + (along / far) * reach + (x === wanted ? 4 : 22);
      g.textAlign = "center";
      g.fillText(label, x, clamp(down, 14, size - 6));
    }
    g.globalAlpha = 1;
    return behind;
  };
  const orbit = (front) => {
    g.fillStyle = accent;
    for (const azimuth of way.keys.length ? [] : v.around) {
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

  /* The path: its way between frames, and a dot for each keyframe, which can be taken. */
  const placed = (c) =>
    sphere(clamp(v.input + c.elevation, -90, 90), c.azimuth, (INPUT_RADIUS + c.zoom) / INPUT_RADIUS);
  dots = way.keys.map(placed).map((p) => ({ place: at(p), front: dot(p, eye) >= 0 }));
  const curve = way.curve.map(([elevation, azimuth, zoom]) => placed({ elevation, azimuth, zoom }));
  const along = (front) => {
    g.strokeStyle = g.fillStyle = accent;
    g.lineWidth = 2;
    g.globalAlpha = front ? 0.85 : 0.35;
    path(curve, front);
    dots.forEach((one, i) => {
      if (one.front !== front) return;
      g.beginPath();
      g.arc(...one.place, i === way.chosen ? 8 : 5.5, 0, 2 * Math.PI);
      g.fill();
      if (i !== way.chosen) return;
      g.strokeStyle = body;
      g.stroke();
      g.strokeStyle = accent;
    });
    g.globalAlpha = 1;
  };
  const source = { elevation: v.input, azimuth: 0, radius: 1 };
  handle = at(sphere(source.elevation, 0, 1));
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
  along(false);
  for (const [c, ...look] of [[source, ink, 0.1, 1.4, `picture, ${Math.round(v.input)}°`], [target, accent, 0.15, 2, ""]]) {
    if (dot(sphere(c.elevation, c.azimuth), eye) < 0) camera(c, ...look);
    else late.push([c, ...look]);
  }
  object();
  untrained(true);
  grid(true);
  orbit(true);
  along(true);
  for (const look of late) camera(...look);
  const words = describe(v);
  readout.textContent = words;
  const low = target.elevation < v.lowest;
  beyond.textContent = low ? `Below ${v.lowest}°: not trained there, a guess` : "";
  canvas.setAttribute("aria-valuetext", low ? `${words}, ${beyond.textContent}` : words);
  canvas.setAttribute("aria-valuenow", v.azimuth);
  const where = JSON.stringify([v.elevation, v.azimuth, v.zoom]);
  if (where !== announcedAt) {
    announcedAt = where;
    const { elevation, azimuth, zoom } = v;
    const detail = { elevation, azimuth, zoom };
    (window.zero123 ??= {}).camera = detail;
    document.dispatchEvent(new CustomEvent("camera-at", { detail }));
  }
  for (const image of document.querySelectorAll("#view img")) {
    image.alt = `The object seen from ${words}`;
  }
}

