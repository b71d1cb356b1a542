/* The estimate of the picture's own elevation: what is known of it, and a button.

   Gradio runs this as a function body with `element`, `trigger`, `props` and `watch`. The value is
   {path, words, offer, ask}: of which picture it is, what to say, the degrees that can be taken,
   and whether an estimate can be asked for. "input" takes what is offered, "submit" asks. */
const words = element.querySelector("span");
const button = element.querySelector("button");
let sourceUp = 0;

function show() {
  const { path, words: said, offer, ask } = props.value ?? {};
  const ours = path && path === window.zero123?.latest;
  const offers = ours && offer !== null && offer !== sourceUp;
  words.textContent = ours ? said : "";
  button.hidden = !ours || !(offers || ask);
  button.textContent = offers ? `Take ${offer}°` : "Estimate";
  button.dataset.does = offers ? "input" : "submit";
}
button.addEventListener("click", () => trigger(button.dataset.does));
document.addEventListener("source-up", ({ detail }) => { sourceUp = Number(detail) || 0; show(); });
document.addEventListener("picture-chosen", show);
watch("value", show);
show();
