"""Many visitors at once, many requests after each other: everyone's own answer, nothing kept."""

from __future__ import annotations

import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.utils import QueueError
from PIL import Image

from tests.app.conftest import served
from zero123lib.app.examples import example_files
from zero123lib.app.settings import Options
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.poses import RelativePose, camera_label

CLIENTS, PLACES, REQUESTS = 32, 8, 1000
# What the process may have gained after 950 more requests; a leaked image each would be more.
SLACK_MB = 60
EXAMPLES = example_files()


def resident_mb() -> float:
    """Memory of this process, which is the server too."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def patient(url: str) -> Client:
    """A client that waits for as long as many others are served, on any machine."""
    return Client(url, verbose=False, httpx_kwargs={"timeout": 300})


def preview(client: Client, image: str, azimuth: float) -> np.ndarray:
    picture, caption = client.predict(handle_file(image), 0, azimuth, api_name="/preview")
    assert caption.startswith(camera_label(RelativePose(azimuth_deg=azimuth)))
    return np.asarray(Image.open(picture).convert("RGB"))


def expected(pipe: Zero123Pipeline, image: str, azimuth: float) -> np.ndarray:
    """What the library makes of a question."""
    made = pipe(
        image,
        [RelativePose(azimuth_deg=azimuth)],
        num_inference_steps=20,
        guidance_scale=pipe.config["guidance_scale"],
        generator=torch.Generator().manual_seed(0),
        return_dict=False,
    )
    return np.asarray(made[0][0])


@pytest.mark.soak
def test_clients_at_once_get_their_own_and_the_surplus_is_told_busy(pipe: Zero123Pipeline) -> None:
    questions = [(EXAMPLES[i % len(EXAMPLES)], 11.0 * i) for i in range(CLIENTS)]
    with served(pipe, Options(max_queue=PLACES)) as url:
        clients = [patient(url) for _ in questions]
        together = threading.Barrier(CLIENTS)

        def ask(index: int) -> list[np.ndarray] | None:
            image, azimuth = questions[index]
            together.wait()
            try:
                gallery, *_ = clients[index].predict(
                    handle_file(image), f"{azimuth}", steps=20, api_name="/views"
                )
            except QueueError:
                return None
            return [np.asarray(Image.open(item["image"]).convert("RGB")) for item in gallery]

        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = list(pool.map(ask, range(CLIENTS)))
        assert any(answer is None for answer in answers), "nobody was told that the app is busy"
        assert sum(answer is not None for answer in answers) >= PLACES
        preview(clients[0], *questions[0])  # and it serves on
        for (image, azimuth), answer in zip(questions, answers, strict=True):
            if answer is not None:
                (view,) = answer
                assert np.array_equal(view, expected(pipe, image, azimuth)), (image, azimuth)


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc to tell memory by")
def test_many_requests_leave_nothing_behind(pipe: Zero123Pipeline) -> None:
    with served(pipe) as url:
        before = 0.0
        for number in range(REQUESTS):
            if number % 10 == 0:
                client = patient(url)
            preview(client, EXAMPLES[number % len(EXAMPLES)], float(number % 180))
            if number == 50:
                before = resident_mb()
        gained = resident_mb() - before
    print(f"{REQUESTS} requests: {before:.0f} MB after 50, {gained:+.1f} MB at the end")
    assert gained < SLACK_MB
