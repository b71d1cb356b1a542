"""Runs under torchrun's agent that lose a process, or a machine, and go on from what was saved."""

from __future__ import annotations

import json
import os
import signal
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from tests.ports import free_port
from tests.training.test_faults import STEPS, command, final_weights
from tests.training.toy import PRELOADED, join_group, start_process, steps_in
from zero123lib import cli
from zero123lib.training import run as training_run

pytestmark = pytest.mark.long

PATIENCE_S = 900
# Of the process that dies; checkpoints are every second step.
DIES_AFTER = 7


def member(argv: list[str], logs: Path, dies: bool) -> None:
    """Run the command as one of several processes; a line of a log for every step. The second of
    the first ones is killed."""
    rank, begun = os.environ["RANK"], os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    plain = training_run.train

    def recorded(*args):
        with open(logs / f"{begun}-{rank}.log", "a") as file:
            for progress in plain(*args):
                line = [progress.step, os.environ["WORLD_SIZE"], progress.loss]
                file.write(json.dumps(line) + "\n")
                file.flush()
                if dies and (begun, rank, progress.step) == ("0", "1", DIES_AFTER):
                    os.kill(os.getpid(), signal.SIGKILL)
                yield progress

    training_run.train = recorded
    status = cli.main(argv)
    if status:
        raise SystemExit(status)


def alone(argv: list[str], logs: Path, rank: int, port: int) -> None:
    """One of two processes that nothing happens to."""
    join_group(rank, 2, port)
    member(argv, logs, dies=False)


def launch(argv: list[str], logs: Path, port: int, nodes: int, host: bool) -> None:
    """Be torchrun on one machine: of two processes, or one each on one or two machines."""
    os.setpgrp()
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    get_context("forkserver").set_forkserver_preload(PRELOADED)
    # Together, or the first would begin without the second.
    (logs / f"ready-{host}").touch()
    while len(list(logs.glob("ready-*"))) < nodes:
        time.sleep(0.01)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=nodes,
        nproc_per_node=2 // nodes,
        run_id="run",
        rdzv_backend="c10d",
        rdzv_endpoint=f"127.0.0.1:{port}",
        rdzv_configs={
            "is_host": host, "last_call_timeout": 20, "keep_alive_interval": 1,
            "keep_alive_max_attempt": 5,
        },
        max_restarts=3,
        monitor_interval=0.1,
        start_method="forkserver",
    )  # fmt: skip
    elastic_launch(config, member)(argv, logs, nodes == 1)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, renders) -> dict[str, torch.Tensor]:
    folder = tmp_path_factory.mktemp("undisturbed")
    argv, port = command(folder, folder / "run", renders), free_port()
    pair = [start_process(alone, argv, folder, rank, port) for rank in range(2)]
    for process in pair:
        process.join(PATIENCE_S)
    assert [process.exitcode for process in pair] == [0, 0]
    return final_weights(folder / "run")


def test_a_run_that_loses_a_process_is_the_undisturbed_one(tmp_path, renders, undisturbed):
    argv = command(tmp_path, tmp_path / "run", renders)
    process = start_process(launch, argv, tmp_path, free_port(), 1, True)
    process.join(PATIENCE_S)
    assert process.exitcode == 0
    begun = [step for step, *_ in steps_in(tmp_path / "1-0.log")]
    # It goes on from the checkpoint before the step that was lost.
    assert begun == list(range(DIES_AFTER, STEPS + 1))
    for name, tensor in final_weights(tmp_path / "run").items():
        assert torch.equal(tensor, undisturbed[name]), name


def test_a_run_that_loses_a_machine_goes_on_without_it(tmp_path, renders, undisturbed):
    """One process does what two did, with the same pairs and noise: the rounding differs."""
    argv = command(tmp_path, tmp_path / "run", renders)
    port = free_port()
    pair = [start_process(launch, argv, tmp_path, port, 2, host) for host in (True, False)]
    log = tmp_path / "0-0.log"
    end = time.monotonic() + PATIENCE_S
    while len(steps_in(log)) < DIES_AFTER and time.monotonic() < end:
        time.sleep(0.005)
    os.killpg(pair[1].pid, signal.SIGKILL)
    pair[0].join(PATIENCE_S)
    assert pair[0].exitcode == 0
    worlds = {line[1] for log in tmp_path.glob("*.log") for line in steps_in(log)}
    assert worlds == {"1", "2"}
    for name, tensor in final_weights(tmp_path / "run").items():
        assert torch.allclose(tensor, undisturbed[name], atol=1e-4), name
