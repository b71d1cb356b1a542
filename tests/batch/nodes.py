"""A cluster of several Ray nodes on this machine."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
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

_SESSION = "session"


@contextmanager
def ray_cluster(head: int, *cpus: int) -> Iterator[tuple[str, list[Any], Any]]:
    """Start a node for the driver, and others beside.

    Args:
        head: cores of the driver's node.
        cpus: cores of each other.

    Yields:
        The address, the other nodes, and what removes one: ``cluster.remove_node``.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in PATIENCE.items()})
    # Where workers find what the tests have them do.
    places = [str(HERE), str(HERE.parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, dict.fromkeys(places)))
    from ray.cluster_utils import Cluster

    taken, folder = [0], Path(mkdtemp(prefix="ray-"))
    cluster = Cluster()

    def start(number: int, **more: Any) -> Any:
        # A node's agent is to write the ports that it chose within 15 seconds, in which a busy
        # machine does not even start it: they are chosen and written here.
        taken.extend(free_ports(len(_PORTS), after=taken[-1]))
        ports = dict(zip(_PORTS, taken[-len(_PORTS) :], strict=True))
        node = secrets.token_hex(28)
        for name, port in ports.items():
            (folder / _SESSION / f"{name}_{node}").write_text(str(port))
        return cluster.add_node(
            num_cpus=number,
            num_gpus=0,
            object_store_memory=80 * 2**20,
            include_log_monitor=False,
            env_vars={"RAY_OVERRIDE_NODE_ID_FOR_TESTING": node},
            **ports,
            **more,
        )

    try:
        (folder / _SESSION).mkdir()
        place = {"temp_dir": str(folder), "session_name": _SESSION}
        start(head, include_dashboard=False, no_monitor=True, **place)
        yield str(cluster.address), [start(number) for number in cpus], cluster
    finally:
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
