/* The player: shows the frames of its value in turn, in a loop, or the one that is scrubbed to.

   Gradio runs this as a function body with `element`, `trigger`, `props` and `watch`. The value is
   {frames, at, begin, frame_ms}; "input" goes out at each frame. One with a screen of its own shows
   them there. One without shows them by the globe's camera: whoever takes that stops it, by the
   event "camera-taken". */
const bar = element.querySelector(".player");
const button = element.querySelector("button");
const scrubber = element.querySelector("input");
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const PLAY = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M4 2.5v11l9-5.5z"/></svg>';
const PAUSE = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M4 3h3v10H4zM9 3h3v10H9z"/></svg>';
const screen = element.querySelector("img");
let timer = 0;
let loaded = [];
let shown = "";

const frames = () => props.value?.frames ?? [];

function go(at) {
  props.value = { ...props.value, at, begin: false };
  scrubber.value = at;
  if (screen) {
    screen.src = loaded[at].src;
    screen.alt = frames()[at].caption;
  }
  scrubber.setAttribute("aria-valuetext", frames()[at].caption.split(" · ")[0]);
  trigger("input");
}

function play(on) {
  clearInterval(timer);
  timer = 0;
  if (!screen) (window.zero123 ??= {}).playing = on;
  button.innerHTML = on ? PAUSE : PLAY;
  button.setAttribute("aria-label", on ? "Stop turning" : "Turn");
  if (!on) return;
  timer = setInterval(() => {
    if (!document.hidden && bar.offsetParent && (!screen || screen.complete)) go((props.value.at + 1) % frames().length);
  }, props.value.frame_ms);
}

function load() {
  const count = frames().length;
  bar.hidden = !count;
  if (!count) { if (timer) play(false); return; }
  scrubber.max = count - 1;
  const film = JSON.stringify([props.value.frame_ms, frames().map(({ image }) => image)]);
  if (screen && film !== shown) {
    /* All of them at once: the first turn is as smooth as the others. */
    shown = film;
    play(false);
    loaded = frames().map(({ image }) => Object.assign(new Image(), { src: image }));
    go(0);
    play(!calm.matches);
    return;
  }
  if (!props.value.begin || timer) return;
  props.value = { ...props.value, begin: false };
  play(!calm.matches);
}

button.addEventListener("click", () => { if (frames().length) play(!timer); });
scrubber.addEventListener("input", () => {
  play(false);
  go(Number(scrubber.value));
});
if (!screen) document.addEventListener("camera-taken", () => {
  (window.zero123 ??= {}).touched = true;
  if (timer) play(false);
});
watch("value", load);
play(false);
load();
