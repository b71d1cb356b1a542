"""What a mesh is made of, in words for people and as plain values for programs."""

from __future__ import annotations

import dataclasses
from typing import Any

from zero123lib._words import count
from zero123lib.meshes.inspect import Facts, facts
from zero123lib.meshes.mesh import Mesh


def state(found: Facts) -> str:
    """Say in one line how whole a surface is."""
    volume = "" if found.volume is None else f", volume {found.volume:.5g}"
    faces, parts = count(found.faces, "face"), count(found.components, "part")
    return f"{faces} in {parts}, {_closed(found)}{volume}"


def details(mesh: Mesh) -> dict[str, Any]:
    """List what there is to know about a mesh, as plain values for JSON."""
    found = facts(mesh)
    low, high = (bound.tolist() for bound in (mesh.vertices.amin(0), mesh.vertices.amax(0)))
    return {
        **dataclasses.asdict(found),
        "watertight": found.watertight,
        "oriented": found.oriented,
        "low": low,
        "high": high,
        "vertices": len(mesh.vertices),
        "materials": len(mesh.materials),
        "textures": [list(m.texture.shape[:2]) for m in mesh.materials if m.texture is not None],
        "texture_coordinates": mesh.uv is not None,
        "vertex_colors": mesh.vertex_colors is not None,
        **mesh.info,
    }


def lines(mesh: Mesh) -> list[str]:
    """List what there is to know about a mesh, for people."""
    found, known = facts(mesh), details(mesh)
    pairs = list(zip(known["low"], known["high"], strict=True))
    sides = " x ".join(f"{b - a:.4g}" for a, b in pairs)
    middle = ", ".join(f"{(a + b) / 2:.4g}" for a, b in pairs)
    opposed = count(found.opposed_edges, "edge")
    told = {
        "size": f"{sides} (x, y, z; z is up), around {middle}",
        "parts": f"{found.components}",
        "closed": _closed(found),
        "winding": "consistent" if found.oriented else f"{opposed} between faces that disagree",
        "area": f"{found.area:.6g}",
        "volume": "none, since it is not closed" if found.volume is None else f"{found.volume:.6g}",
        "to clean": f"{found.degenerate_faces} flat and {found.duplicate_faces} double faces",
        "colours": _colors(known),
        **mesh.info,
    }
    head = f"{count(found.faces, 'face')}, {count(len(mesh.vertices), 'vertex')}"
    return [head, *(f"  {name}: {line}" for name, line in told.items())]


def _closed(found: Facts) -> str:
    if found.watertight:
        return "watertight"
    kinds = ((found.border_edges, "of one face"), (found.branching_edges, "of more than two"))
    open_at = [f"{count(number, 'edge')} {what}" for number, what in kinds if number]
    return f"not watertight ({', '.join(open_at)})"


def _colors(known: dict[str, Any]) -> str:
    kinds = [count(known["materials"], "material")]
    if known["textures"]:
        sizes = (f"{width} x {height}" for height, width in known["textures"])
        kinds.append(f"textures of {', '.join(sizes)}")
    if known["vertex_colors"]:
        kinds.append("colours at vertices")
    return ", ".join(kinds)
