
/* Steps back and forward of the camera and its path; follows `globe.js` in one function body.

   A step is where both have been for a moment: while something plays, there are none. */
const undo = element.querySelector(".undo");
const redo = element.querySelector(".redo");
const STEP_MS = 500;
const MOST_STEPS = 100;
let steps = [];
let step = -1;
let noting = 0;

function now() {
  const { elevation, azimuth, zoom } = value();
  return JSON.stringify({ camera: { elevation, azimuth, zoom }, path: way.path ?? null });
}
function note() {
  clearTimeout(noting);
  noting = setTimeout(() => {
    if (window.zero123?.playing || steps[step] === now()) return;
    steps = [...steps.slice(0, step + 1), now()].slice(-MOST_STEPS);
    step = steps.length - 1;
    offer();
  }, STEP_MS);
}
function offer() {
  undo.disabled = step < 1;
  redo.disabled = step >= steps.length - 1;
}
function back(by) {
  if (!steps[step + by]) return;
  clearTimeout(noting);
  step += by;
  const { camera, path: earlier } = JSON.parse(steps[step]);
  document.dispatchEvent(new Event("camera-taken"));
  document.dispatchEvent(new CustomEvent("path-to", { detail: earlier }));
  document.dispatchEvent(new CustomEvent("camera-to", { detail: { ...camera, rest: true } }));
  offer();
}
undo.addEventListener("click", () => back(-1));
redo.addEventListener("click", () => back(1));
document.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.altKey || event.key.toLowerCase() !== "z") return;
  /* In a text it is the text's, in the brush's editor the brush's. */
  if (event.target.closest?.("textarea, [contenteditable], #brush, input:not([type=range], [type=checkbox], [type=radio])")) return;
  event.preventDefault();
  back(event.shiftKey ? 1 : -1);
});
for (const name of ["camera-at", "path-shown"]) document.addEventListener(name, note);
/* Another image begins anew. */
document.addEventListener("camera-let-go", () => { steps = []; step = -1; offer(); note(); });
note();
