"""Where the nodes of a glTF file put its meshes: transforms, instances, skins and morph targets.

All at rest: animations play no part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from zero123lib.meshes.gltf_data import Document, checked_index

_MAX_DEPTH = 200

# Morph targets' weights and attributes.
Targets = list[tuple[float, dict[str, int]]]


def check_nodes(document: Document) -> None:
    """Refuse graphs that are not trees: one that runs in a circle has no end.

    Raises:
        ValueError: there is one.
    """
    nodes = document.items("nodes")
    parents = [0] * len(nodes)
    for node in nodes:
        for child in node.get("children", []):
            parents[checked_index(child, len(nodes), "nodes")] += 1
    if any(count > 1 for count in parents):
        raise ValueError("expected a tree of nodes, got one with two parents")
    level = [index for index, count in enumerate(parents) if not count]
    reached = 0
    for _ in range(_MAX_DEPTH):
        reached += len(level)
        level = [child for index in level for child in nodes[index].get("children", [])]
    if reached != len(nodes):
        raise ValueError(f"expected a tree of nodes at most {_MAX_DEPTH} deep, got another graph")


def shown_nodes(document: Document) -> list[int]:
    """Return the nodes of the file's scene that can be seen; all where it has no scenes."""
    if not document.items("scenes"):
        return list(range(len(document.items("nodes"))))
    # By number, each once however often the scene names it.
    found: dict[int, None] = {}
    waiting = list(document.item("scenes", document.header.get("scene", 0)).get("nodes", []))[::-1]
    while waiting:
        index = waiting.pop()
        node = document.item("nodes", index)
        visibility = node.get("extensions", {}).get("KHR_node_visibility", {})
        if index not in found and visibility.get("visible", True):
            found[index] = None
            waiting += node.get("children", [])[::-1]
    return list(found)


def world_matrices(document: Document) -> list[np.ndarray]:
    """Return each node's matrix ``[4, 4]`` from its own axes to the scene's."""
    nodes = document.items("nodes")
    worlds = [_local(node) for node in nodes]
    inner = {child for node in nodes for child in node.get("children", [])}
    waiting = [index for index in range(len(nodes)) if index not in inner]
    for index in waiting:  # grows while it runs: parents before their children
        for child in nodes[index].get("children", []):
            worlds[child] = worlds[index] @ worlds[child]
            waiting.append(child)
    return worlds


def instances(document: Document, node: Mapping[str, Any], world: np.ndarray) -> list[np.ndarray]:
    """Return the matrices ``[4, 4]`` of all copies of a node's mesh (EXT_mesh_gpu_instancing)."""
    extension = node.get("extensions", {}).get("EXT_mesh_gpu_instancing", {})
    given = {name: document.accessor(at) for name, at in extension.get("attributes", {}).items()}
    parts = {name: given[name] for name in ("TRANSLATION", "ROTATION", "SCALE") if name in given}
    if not parts:
        return [world]
    if len({len(values) for values in parts.values()}) > 1:
        raise ValueError("expected as many rotations and scales of instances as translations")
    rows = [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]
    return [
        world @ _matrix(row.get("TRANSLATION"), row.get("ROTATION"), row.get("SCALE"))
        for row in rows
    ]


def skin_matrices(
    document: Document,
    skin: int,
    attributes: Mapping[str, int],
    worlds: list[np.ndarray],
) -> np.ndarray:
    """Return each vertex's matrix ``[V, 4, 4]`` to the scene's axes: the mean of its joints'.

    As glTF 2.0 has it, chapter 3.7.3.3: the skinned node's own transform does not count. Weights
    are made to sum to 1; a vertex without any is its first joint's.
    """
    found = document.item("skins", skin)
    which = [checked_index(joint, len(worlds), "nodes") for joint in found["joints"]]
    joints = np.stack([worlds[joint] for joint in which])
    if "inverseBindMatrices" in found:
        inverse = document.accessor(found["inverseBindMatrices"])
        joints = joints @ inverse[: len(joints)].reshape(-1, 4, 4).transpose(0, 2, 1)
    total, sums = 0.0, 0.0
    first = joints[document.whole_numbers(attributes["JOINTS_0"])[:, 0]]
    for name in sorted(name for name in attributes if name.startswith("JOINTS_")):
        which = document.whole_numbers(attributes[name])
        weights = document.accessor(attributes[name.replace("JOINTS", "WEIGHTS")], share=True)
        for joint, weight in zip(which.T, weights.T, strict=True):
            total = total + weight[:, None, None] * joints[joint * (weight != 0.0)]
            sums = sums + weight
    sums = np.asarray(sums)[:, None, None]
    return np.where(sums > 0.0, total / np.where(sums > 0.0, sums, 1.0), first)


def morphed(document: Document, values: np.ndarray, name: str, weighted: Targets) -> np.ndarray:
    """Return an attribute's values ``[V, D]`` with the weighted sum of its morph targets added."""
    for weight, target in weighted:
        if name in target and weight != 0.0:
            delta = document.accessor(target[name], share=name.startswith("COLOR"))
            values = values + weight * _wide(delta, values.shape[1])
    return values


def morph_weights(
    node: Mapping[str, Any], mesh: Mapping[str, Any], primitive: Mapping[str, Any]
) -> Targets:
    """Return the morph targets of a primitive with their weights: the node's, else the mesh's."""
    targets = primitive.get("targets", [])
    weights = node.get("weights") or mesh.get("weights") or [0.0] * len(targets)
    return list(zip(weights, targets, strict=False))


def _wide(values: np.ndarray, width: int) -> np.ndarray:
    """Return the colours that change none, with alpha where there is one."""
    return np.pad(values, ((0, 0), (0, width - values.shape[1])))


def _local(node: Mapping[str, Any]) -> np.ndarray:
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    return _matrix(node.get("translation"), node.get("rotation"), node.get("scale"))


def _matrix(translation: Any, rotation: Any, scale: Any) -> np.ndarray:
    """Return the matrix of a translation ``[3]``, a quaternion (x, y, z, w) and scales ``[3]``."""
    made = np.eye(4)
    if rotation is not None:
        x, y, z, w = np.asarray(rotation, np.float64) / (np.linalg.norm(rotation) or 1.0)
        made[:3, :3] = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    if scale is not None:
        made[:3, :3] *= np.asarray(scale, np.float64)
    if translation is not None:
        made[:3, 3] = translation
    return made
