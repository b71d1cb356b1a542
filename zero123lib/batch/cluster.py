"""Ray: a cluster that is there, or one of this machine alone, and a pass of a batch over it."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from zero123lib._errors import ArgumentError, RunError, one_line
from zero123lib._optional import require
from zero123lib.batch.items import Item
from zero123lib.batch.worker import Order, Worker

# Items are small; what they make goes to the store.
_OBJECTS_BYTES = 128 * 2**20
# In so many seconds a cluster has to take a connection.
_ANSWER_S = 10.0
# Of a batch, and items in one at most: results come block by block, and each costs Ray some work.
_BLOCKS, _ITEMS_PER_BLOCK = 10_000, 64


@dataclass(frozen=True)
class Spread:
    """How a batch is spread over workers.

    Attributes:
        ray: address of a cluster, host:port or auto; None is this machine alone.
        workers: processes at most; None is as many as there is room for.
        cpus_per_worker: cores that each is given.
        gpus_per_worker: its share of a GPU, or how many; None is one where there are any.
    """

    ray: str | None = None
    workers: int | None = None
    cpus_per_worker: float = 1.0
    gpus_per_worker: float | None = None

    def gpus(self, nodes: Sequence[dict[str, Any]], on_cpu: bool = False) -> float:
        """Return the share of a GPU that a worker gets.

        Args:
            nodes: resources of each.
            on_cpu: whether the work is to be done on the CPU anyway.
        """
        if self.gpus_per_worker is not None:
            return self.gpus_per_worker
        return 1.0 if not on_cpu and any(node.get("GPU") for node in nodes) else 0.0

    def most(self, nodes: Sequence[dict[str, Any]], on_cpu: bool = False) -> int:
        """Return how many workers there may be at a time.

        Raises:
            ArgumentError: not one fits on any node.
        """
        if self.workers is not None:
            return self.workers
        wanted = {"CPU": self.cpus_per_worker, "GPU": self.gpus(nodes, on_cpu)}
        wanted = {name: amount for name, amount in wanted.items() if amount}
        room = [
            min(int(node.get(name, 0) / amount + 1e-9) for name, amount in wanted.items())
            for node in nodes
        ]
        if not sum(room):
            name = "gpus_per_worker" if wanted.get("GPU") else "cpus_per_worker"
            kind = "GPU" if wanted.get("GPU") else "CPU"
            most = max((node.get(kind, 0) for node in nodes), default=0)
            raise ArgumentError(name, f"at most what a node has, {most:g}", f"{wanted[kind]:g}")
        return sum(room)


def start_ray(address: str | None, store_bytes: int, cores: int | None = None, **how: Any) -> None:
    """Connect to a cluster, or begin one of this machine; reports of its usage stay off.

    Args:
        address: host:port or auto; None begins one.
        store_bytes: of objects, in one that is begun.
        cores: of one that is begun; None is those that there are.
        how: other words of ``ray.init``.

    Raises:
        ArgumentError: there is no cluster at the address.
        RunError: Ray does not start.
    """
    # Ray reports how it is used unless it is told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = require("ray", "cluster")
    own = {"num_cpus": cores, "include_dashboard": False, "object_store_memory": store_bytes}
    try:
        if address is not None:
            _check_listened_to(address)
        ray.init(address=address or "local", **how, **({} if address else own))
    except Exception as error:  # what Ray raises, where it takes too long, has no type of its own
        reason = " ".join(str(error).split())
        if address is None:
            raise RunError(one_line(f"Ray does not start: {reason}")) from error
        got = f"{address!r}: {reason[:200]}"
        raise ArgumentError("ray", "the address of a Ray cluster", got) from error


def _check_listened_to(address: str) -> None:
    """Raise OSError where nobody listens at a host:port, at which Ray would knock for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()


@contextmanager
def cluster(address: str | None) -> Iterator[list[dict[str, Any]]]:
    """Connect to a cluster, or begin one of this machine, for as long as it lasts.

    Yields:
        The resources of each of its nodes.

    Raises:
        ArgumentError, RunError: as :func:`start_ray` does.
    """
    start_ray(address, _OBJECTS_BYTES, log_to_driver=False, logging_level=logging.ERROR)
    ray = require("ray", "cluster")
    try:
        yield [node["Resources"] for node in ray.nodes() if node["Alive"]]
    finally:
        ray.shutdown()


def one_pass(
    items: Sequence[tuple[Item, int]],
    order: Order,
    workers: int,
    cpus: float,
    gpus: float,
    alone: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield a row for every item whose worker lives to tell, as they end.

    Ray Data holds back what nobody has room for yet, and starts workers anew that are lost. What
    was with one of them has no row: its other items are of no harm, and another pass takes them.

    Args:
        items: each with the attempts that it has behind it.
        order: for all workers.
        workers: at a time, at most.
        cpus, gpus: of each.
        alone: give a worker one item at a time, so that its loss is of that item.
    """
    ray = require("ray.data", "cluster")
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = ray.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1
    rows = [{"uri": item.uri, "name": item.name, "attempts": tries} for item, tries in items]
    per_block = 1 if alone else min(-(-len(rows) // _BLOCKS), _ITEMS_PER_BLOCK)
    pool = ray.ActorPoolStrategy(
        min_size=1,
        max_size=workers,
        initial_size=workers,
        max_tasks_in_flight_per_actor=1 if alone else 2,
    )
    blocks = ray.from_items(rows, override_num_blocks=-(-len(rows) // per_block))
    with warnings.catch_warnings():
        # Of the last argument, which has no successor yet; before 2.64 it is there.
        warnings.simplefilter("ignore")
        made = blocks.map_batches(
            Worker,
            fn_constructor_args=(order,),
            batch_size=None,
            batch_format="pyarrow",
            compute=pool,
            num_cpus=cpus,
            num_gpus=gpus,
            # A task would wait for its own actor, whose node may never come back: another pass
            # gives its items to others.
            max_task_retries=0,
        )
    yield from made.iter_rows()
