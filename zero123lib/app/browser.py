"""What happens in the browser alone: small functions between components, run at once.

What the globe says is what the view shows. So that no answer to an old question gets in between,
`zero123.ready` holds the path of the image that the page shows as prepared: of any other, nothing
is asked; `zero123.asked` tells which questions are open. `zero123.painted` says that the next image
is the same one with its cut-out fixed, or, with its path, that it is a result's: one that was on
its way before it, `zero123.passed`, moves no camera. `zero123.touched` tells that the visitor has
moved the camera, `zero123.chosen` that another image is on its way: its view is scrolled to, but
for the first one's.
"""

from __future__ import annotations

from zero123lib.app.examples import ELEVATION_DEG

# An orbit, played.
ORBIT_FRAME_MS = 160

CHOOSE = "Choose a picture, and the object appears here."
UNUSABLE = "This picture cannot be used: choose another one, or fix its cut-out."

# Between the globe and the sliders, with the one of the picture's own camera.
SLIDERS_OF_GLOBE = "(globe) => [globe.elevation, globe.azimuth, globe.zoom]"
SOURCE_OF_GLOBE = "(globe) => globe.input"
GLOBE_OF_SLIDERS = """(elevation, azimuth, zoom, input, count, globe) => {
  // Told beside the value, which several events write and may take from one another.
  document.dispatchEvent(new CustomEvent("source-up", {detail: input}));
  const around = count > 1 ? Array.from({length: count}, (_, i) => i * 360 / count) : [];
  const sliders = [elevation, azimuth, zoom];
  return {...globe, elevation, azimuth, zoom, sliders, around};
}"""

# The view is asked for once the sliders say what the globe says.
REST = '() => { document.dispatchEvent(new Event("camera-rests")); return []; }'
# The visitor takes the camera.
TOUCH = '() => { document.dispatchEvent(new Event("camera-taken")); return []; }'

# Another image is seen from its own camera; the same one, with its cut-out fixed, as before.
NEW_IMAGE = """(image, up, right, away, globe, player) => {
  const page = (window.zero123 ??= {});
  const nothing = {...player, frames: [], at: 0};
  const left = {__type__: "update"};
  // Told of it twice, when another one was on its way as it came.
  if (image && image.path === page.latest) return [left, left, left, left, left];
  // At once: the film of another image must neither go on nor begin.
  if (page.latest && image?.path !== page.latest) {
    document.dispatchEvent(new Event("camera-taken"));
  }
  page.latest = image?.path;
  document.dispatchEvent(new Event("picture-chosen"));
  page.chosen = !page.painted;
  const coming = page.painted?.length && page.painted !== image?.path;
  if (coming && !page.passed) {
    page.passed = true;
    return [left, left, left, left, nothing];
  }
  const stays = page.painted && !coming;
  page.painted = page.passed = false;
  if (stays) return [up, right, away, globe, nothing];
  document.dispatchEvent(new Event("camera-let-go"));
  const front = {elevation: 0, azimuth: 0, zoom: 0, sliders: [0, 0, 0]};
  return [0, 0, 0, {...globe, ...front}, nothing];
}"""
PAINTED = "() => { (window.zero123 ??= {}).painted = true; return []; }"
NOT_PAINTED = "() => { (window.zero123 ??= {}).painted = false; return []; }"

# Where the image's own camera is, its image is what is seen. Elsewhere the view is asked for; so it
# is while an answer about the image before may still come, since the last that is asked comes last.
PREPARED = f"""(image, given, up, right, away, globe, view, caption) => {{
  const page = (window.zero123 ??= {{}});
  page.ready = image && given ? image.path : null;
  // Once for each image: it may be prepared again while a finger is on the page.
  if (given && page.chosen && page.begun && page.scrolled !== image.path) {{
    page.scrolled = image.path;
    document.querySelector("#pair")?.scrollIntoView({{block: "nearest"}});
  }}
  const whose = page.begun ? "Your picture" : "An example";
  page.chosen = false;
  page.begun = true;
  const source = {{...globe, image: given ? given.url : ""}};
  if (!given) return [source, null, "{CHOOSE}"];
  // Its film moves the camera, and shows what is seen from there.
  if (page.filmed === image.path && !page.touched) return [source, view, caption];
  if (up || right || away || Object.values(page.asked ?? {{}}).some(Boolean)) {{
    setTimeout(() => document.dispatchEvent(new Event("camera-rests")), 0);
    return [source, view, caption];
  }}
  return [source, given, `${{whose}}, as the model is given it. Drag it.`];
}}"""
NOT_PREPARED = f"""(globe) => {{
  (window.zero123 ??= {{}}).ready = null;
  return [{{...globe, image: ""}}, null, null, null, "{UNUSABLE}", ""];
}}"""


def only_ready(name: str) -> str:
    """Return what sends an event's inputs: of an image that is not prepared nothing is asked."""
    return f"""(session, image, ...rest) => {{
      const page = (window.zero123 ??= {{}});
      const asked = image && image.path === page.ready ? image : null;
      (page.asked ??= {{}}).{name} = Boolean(asked);
      return [session, asked, ...rest];
    }}"""


def answered(name: str) -> str:
    """Return what notes that an event of `only_ready` has been answered."""
    return f"() => {{ window.zero123.asked.{name} = false; return []; }}"


# Of each image an estimate is asked for once, unless by the button.
SUGGEST = """(session, image, ...rest) => {
  const page = (window.zero123 ??= {});
  const first = image && image.path === page.ready && image.path !== page.estimated;
  if (first) page.estimated = image.path;
  return [session, first ? image : null, ...rest];
}"""
TAKE = "(suggested) => suggested.offer"

# The page begins with an example, unless the visitor was faster.
BEGIN = f"""(example, image, elevation) =>
  image ? [image, elevation] : [example, {ELEVATION_DEG:g}]"""

# A film of the image as it was framed before.
NO_FILM = """(player) => {
  document.dispatchEvent(new Event("camera-taken"));
  return {...player, frames: [], at: 0};
}"""
# A film of an image begins, unless the visitor was faster; each of its frames is a state.
FILM = """(film, image, player) => {
  const page = (window.zero123 ??= {});
  const {touched, latest} = page;
  const own = image?.path === film?.path && latest === film?.path;
  const wanted = film?.frames?.length && own && !touched;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  page.filmed = wanted && !calm ? film.path : null;
  return wanted ? {...player, ...film, at: 0, begin: true} : player;
}"""
FRAME = """(player, globe) => {
  const {image, caption, camera} = player.frames[player.at];
  const [elevation, azimuth, zoom] = camera;
  const shown = {path: "", url: image, orig_name: "view.webp", meta: {_type: "gradio.FileData"}};
  return [shown, caption, ...camera, {...globe, elevation, azimuth, zoom, sliders: camera}];
}"""

# What the server says of a path goes to the widget, which takes it if it still asks.
DRAWN = """(drawn) => {
  document.dispatchEvent(new CustomEvent("path-answered", {detail: drawn}));
  return [];
}"""
REFUSED = '() => { document.dispatchEvent(new Event("path-refused")); return []; }'
# The path as it is when its views are asked for; they play at its pace.
RENDER = """(session, image, path, count, ...rest) => {
  const page = (window.zero123 ??= {});
  const asked = page.path();
  page.pace = 1000 * (asked.path?.duration_s ?? 1) / asked.count;
  return [session, image, asked.path, asked.count, ...rest];
}"""
TURN = f"""(...given) => {{
  (window.zero123 ??= {{}}).pace = {ORBIT_FRAME_MS};
  return given;
}}"""
# The views that were made, of the first seed, from their own files.
PLAY = """(gallery, seeds, player) => {
  const views = (gallery ?? []).slice(0, Math.ceil((gallery ?? []).length / seeds));
  const frames = views.map((one) => ({image: one.image.url, caption: one.caption ?? ""}));
  return {...player, frames, at: 0, frame_ms: window.zero123?.pace};
}"""


def begun(kind: str) -> str:
    """Return what notes of what a result is begun to be made."""
    return f"""(image, ...settings) => {{
      const page = (window.zero123 ??= {{}});
      const path = "{kind}" === "path" ? page.path?.() : null;
      (page.begins ??= {{}}).{kind} = {{image, settings, path}};
      return [];
    }}"""


def made(kind: str) -> str:
    """Return what tells the strip of a result, by an image of it."""
    return f"""(shown, caption) => {{
      const begins = window.zero123?.begins?.{kind};
      const first = Array.isArray(shown) ? shown[0]?.image : shown;
      if (!begins?.image || !first?.url) return [];
      const where = Array.isArray(shown) ? `${{shown.length}} views` : caption.split(" · ")[0];
      const words = "{kind}" === "mesh" ? begins.image.orig_name : where;
      const detail = {{kind: "{kind}", ...begins, shown: first.url, caption: words}};
      document.dispatchEvent(new CustomEvent("result-made", {{detail}}));
      return [];
    }}"""


# A result comes back: another picture keeps the camera that comes with it, as a fixed cut-out does.
RESTORE = """(chosen, globe, image) => {
  const page = (window.zero123 ??= {});
  document.dispatchEvent(new Event("camera-taken"));
  document.dispatchEvent(new Event("camera-let-go"));
  page.painted = chosen.image ? chosen.image.path : false;
  const [elevation, azimuth, zoom, input] = chosen.settings;
  const camera = {elevation, azimuth, zoom, sliders: [elevation, azimuth, zoom]};
  document.dispatchEvent(new CustomEvent("source-up", {detail: input}));
  if (chosen.path) {
    page.path_to_come = chosen.path;
    document.dispatchEvent(new CustomEvent("path-restored"));
  }
  return [chosen.image ?? image, {...globe, ...camera}, ...chosen.settings];
}"""
# Of the picture that is there already nothing else would prepare what has changed.
RESTORED = """(chosen) => {
  if (!chosen.image) document.dispatchEvent(new Event("picture-again"));
  document.querySelector("#of-object")?.scrollIntoView({block: "nearest"});
  return [];
}"""
