"""`zero123 serve`: an HTTP API of views, and the app, behind several replicas of a model."""

from __future__ import annotations

import os
import time
from importlib.util import find_spec
from typing import Annotated

from cyclopts import Parameter

from zero123lib._optional import MissingExtraError
from zero123lib.cli.app import check_place
from zero123lib.cli.kept import KeptModel
from zero123lib.cli.options import Flag, Positive, ServedModel, whole


def serve(
    *,
    model: ServedModel = ServedModel(),
    replicas: Annotated[int, whole(1, 1000), Parameter(env_var="ZERO123_REPLICAS")] = 1,
    gpus_per_replica: Annotated[
        Positive | None, Parameter(env_var="ZERO123_GPUS_PER_REPLICA", metavar="F")
    ] = None,
    ray: Annotated[str | None, Parameter(env_var="RAY_ADDRESS", metavar="ADDRESS")] = None,
    host: Annotated[str, Parameter(env_var="ZERO123_HOST", metavar="NAME")] = "127.0.0.1",
    port: Annotated[int, whole(1, 65535), Parameter(env_var="ZERO123_PORT")] = 8000,
    max_queue: Annotated[int, whole(1, 10_000), Parameter(env_var="ZERO123_MAX_QUEUE")] = 32,
    page: Flag = False,
) -> None:
    """Serve views over HTTP, by replicas of a model on Ray Serve.

    POST an image and cameras to /v1/views; /docs describes it, and /healthz,
    /readyz and /metrics are for whoever runs it. SIGTERM or Ctrl-C ends it
    once all requests that came are answered. It needs the extras `app` and
    `cluster`.

        zero123 serve --replicas 2
        zero123 serve --replicas 8 --gpus-per-replica 0.5 --ray auto
        curl -F image=@photo.png -F azimuths=45 -o view.png localhost:8000/v1/views

    Args:
        replicas: how many models, each in a process of its own.
        gpus_per_replica: share of a GPU that each counts for, and the page too (1, or as much as
            lets all of them share the GPUs of this machine).
        ray: address of a Ray cluster, or auto (Ray on this machine alone).
        host: address to listen on.
        port: to listen on.
        max_queue: requests that may wait before others are told that the server is busy.
        page: serve the app's page too, at /page/.
    """
    for package, extra in (("gradio", "app"), ("ray", "cluster")):
        if find_spec(package) is None:
            message = f"{package} is not installed: pip install 'zero123lib[app,{extra}]'"
            raise MissingExtraError(message)
    if ray is None:  # a cluster's own may listen already
        check_place(host, port)
    asked = model.checked()
    from zero123lib.serving.cluster import Serving, gpu_share, served

    if gpus_per_replica is None:
        gpus_per_replica = gpu_share(replicas + page, model.device, ray)
    cores = 1 if ray is not None else max(1, (os.cpu_count() or 1) // replicas)
    what = Serving(
        load=KeptModel.of(asked).load,  # replicas have folders of their own
        replicas=replicas,
        gpus_per_replica=gpus_per_replica,
        cpus_per_replica=cores,
        max_queue=max_queue,
        host=host,
        port=port,
        address=ray,
        page=page,
    )
    with served(what) as stop:
        if not stop():
            print(f"Serving on http://{host}:{port}/v1/views, described at /docs", flush=True)
        while not stop():
            time.sleep(0.2)
        print("Finishing what came; nothing new is taken.", flush=True)
