"""The names that arguments choose from, for whoever asks before torch is there.

Each is explained in the room that gives it its meaning and takes it from here.
"""

from __future__ import annotations

from typing import Literal

# Pose encodings: `zero123lib.views.poses`.
Encoding = Literal["zero123", "stable-zero123"]
AutoEncoding = Literal["auto", Encoding]

# The buttons of the official demo: `zero123lib.views.poses`.
Preset = Literal["left", "above", "right", "below", "behind", "random"]

# From an image to the model's condition: `zero123lib.views.images`.
Preprocess = Literal["auto", "official", "none"]

# How many times larger an image is made each way: `zero123lib.upscaling`.
Upscale = Literal[1, 2, 4]

# `zero123lib.diffusion.samplers`.
Sampler = Literal["official", "ddim", "unipc", "dpmpp", "euler"]
# Those that can add noise on the way; the others take no eta.
NOISY_SAMPLERS: tuple[Sampler, ...] = ("official", "ddim")

# How views of an orbit agree: `zero123lib.diffusion.consistency`.
Consistency = Literal["none", "viewfusion", "mutual"]

# What is given up for speed: `zero123lib.diffusion.speed`.
Speed = Literal["exact", "balanced", "fast"]

# `zero123lib.diffusion.devices`.
Device = Literal["auto", "cpu", "cuda", "mps"]

# Which axis of a mesh file is up: `zero123lib.meshes.axes`.
UpAxis = Literal["auto", "y", "z"]

# What rasterizes meshes: `zero123lib.meshes.rasterize`.
RasterBackend = Literal["auto", "open3d", "pytorch3d"]

# Whether all rendered objects have the same light: `zero123lib.rendering.settings`.
Lighting = Literal["random", "fixed"]

# The ways of a camera around the object, and how time goes by on them: `zero123lib.views.paths`.
PathPreset = Literal["ring", "spiral", "rise", "sway", "zoom"]
Easing = Literal["linear", "ease-in", "ease-out", "ease-in-out"]
