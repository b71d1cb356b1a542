"""A cluster of several Ray nodes on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.ports import free_ports

HERE = Path(__file__).resolve().parent

# Before Ray is imported: nothing is reported to anybody, and a busy machine has its time.
PATIENCE = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_health_check_initial_delay_ms": "60000",
    "RAY_health_check_timeout_ms": "60000",
}
_PORTS = (
    "metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port",
    "runtime_env_agent_port",
)  # fmt: skip


@contextmanager
def ray_cluster(cpus: Sequence[int]) -> Iterator[tuple[str, list[Any], Any]]:
    """Start a node of no cores for the driver, and one of each number of cores.

    Yields:
        The address, the other nodes, and what removes one: ``cluster.remove_node``.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in PATIENCE.items()})
    # Where workers find what the tests have them do.
    places = [str(HERE), str(HERE.parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, dict.fromkeys(places)))
    from ray.cluster_utils import Cluster

    taken = [0]

    def node(number: int) -> dict[str, Any]:
        # Ports that a node is to choose itself it has to choose within some seconds.
        taken.extend(free_ports(len(_PORTS), after=taken[-1]))
        return {
            "num_cpus": number,
            "num_gpus": 0,
            "object_store_memory": 80 * 2**20,
            "include_log_monitor": False,
            **dict(zip(_PORTS, taken[-len(_PORTS) :], strict=True)),
        }

    cluster = Cluster(
        initialize_head=True,
        head_node_args={**node(0), "include_dashboard": False, "no_monitor": True},
    )
    try:
        others = [cluster.add_node(**node(number)) for number in cpus]
        yield str(cluster.address), others, cluster
    finally:
        cluster.shutdown()
