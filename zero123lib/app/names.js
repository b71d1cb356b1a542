/* Names for what Gradio leaves unnamed, or names otherwise than it reads: found by axe. And a camera
   is offered where there is one: Gradio fails without a word where there is none. */
() => {
  const devices = navigator.mediaDevices;
  const look = async () => {
    const found = devices ? await devices.enumerateDevices().catch(() => []) : [];
    const seen = found.some((one) => one.kind === "videoinput");
    document.body.classList.toggle("no-camera", !seen);
  };
  devices?.addEventListener("devicechange", look);
  look();
  const name = () => {
    for (const button of document.querySelectorAll("#examples .gallery-item:not([aria-label])")) {
      const source = button.querySelector("img")?.getAttribute("src") || "";
      const object = source.split("/").pop().split(".")[0];
      if (object) button.setAttribute("aria-label", `Example: ${object}`);
    }
    for (const button of document.querySelectorAll("#gallery button[aria-label^='Thumbnail']")) {
      const caption = button.querySelector(".caption-label")?.textContent.trim() || "";
      const label = button.getAttribute("aria-label").split(":")[0];
      const wanted = caption ? `${label}: ${caption}` : label;
      if (button.getAttribute("aria-label") !== wanted) button.setAttribute("aria-label", wanted);
    }
    for (const [part, alt] of [["given", "What the model is given"], ["view", "The object"]]) {
      for (const image of document.querySelectorAll(`#${part} img`)) image.alt ||= alt;
    }
    for (const part of document.querySelectorAll("div.empty[aria-label], .upload-container[aria-label]")) {
      part.removeAttribute("aria-label");
    }
  };
  let waiting = false;
  new MutationObserver(() => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; name(); });
  }).observe(document.body, {
    childList: true, subtree: true, characterData: true, attributeFilter: ["src"],
  });
  name();
}
