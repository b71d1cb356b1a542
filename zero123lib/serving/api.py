"""The HTTP API, whatever makes the views: routes, limits and messages, health, metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import FastAPI, Form, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from zero123lib import __version__
from zero123lib._errors import ArgumentError, one_line
from zero123lib.app.guard import REQUEST_ID, Guard
from zero123lib.app.inputs import FILE_KINDS
from zero123lib.serving.answers import Answer, Refusal, refusal
from zero123lib.serving.asking import Asking, ViewsForm
from zero123lib.serving.desk import Desk
from zero123lib.serving.watching import Metrics, Watch

VIEWS = "/v1/views"
# Seconds after which whoever found the server busy may ask again.
RETRY_AFTER_S = 2

# Makes views of the bytes of a file, its name, cameras and settings, for a request's number.
Make = Callable[[bytes, str, Asking, str], Awaitable[Answer | Refusal]]
# Returns why no views can be made, or None.
Ready = Callable[[], Awaitable[str | None]]


class Detail(BaseModel):
    """Why there are no views."""

    detail: str


_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One view, or a folder of views, or views as base64 with their cameras.",
        "content": {
            "image/png": {"schema": {"type": "string", "format": "binary"}},
            "application/zip": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {"schema": {"type": "object"}},
        },
    },
    **{
        status: {"model": Detail, "description": about}
        for status, about in (
            (408, "The body did not arrive in time."),
            (413, "The body is too large."),
            (422, "Wrong input; the line names the field, what was expected and what came."),
            (500, "A fault of the server, told by the request's number."),
            (501, "What the server has no package for."),
            (502, "Replicas were lost while they made it."),
            (503, "The server is busy, or stops; it says when to ask again."),
        )
    },
}


def build(make: Make, ready: Ready, desk: Desk, metrics: Metrics, echoed: bool = False) -> FastAPI:
    """Build the API.

    Args:
        make: makes the views.
        ready: tells whether they can be made.
        desk: where requests wait.
        metrics: what is noted of them.
        echoed: whether answers are told a request's own number by whoever passed it on.
    """
    api = FastAPI(
        title="zero123lib",
        version=__version__,
        description="Novel views of one image: the same object from other cameras.",
        redoc_url=None,
    )
    api.add_middleware(Guard, uploads=(VIEWS,))
    api.add_middleware(Watch, metrics=metrics, echoed=echoed)
    api.add_exception_handler(RequestValidationError, _wrong_input)

    @api.post(VIEWS, response_class=Response, responses=_ANSWERS, summary="Views of one image")
    async def views(
        request: Request, form: Annotated[ViewsForm, Form(media_type="multipart/form-data")]
    ) -> Response:
        """Make the object in an image as other cameras see it."""
        number = request.scope["state"][REQUEST_ID]
        try:
            form.poses()  # before it waits for anything
            async with desk.place():
                content = await form.image.read()
                asking = Asking.model_construct(**_settings(form))
                made = await make(content, form.image.filename or "the upload", asking, number)
        except Exception as error:
            made = refusal(error, number)
        if isinstance(made, Refusal):
            return _refused(made)
        metrics.views.inc(made.views)
        return Response(made.body, 200, _headers(made), made.media_type)

    @api.get("/healthz", response_class=PlainTextResponse, summary="Whether the server lives")
    async def healthz() -> str:
        return "ok"

    @api.get(
        "/readyz",
        response_class=PlainTextResponse,
        responses={503: {"model": Detail, "description": "It stops, or no replica is there."}},
        summary="Whether requests are taken",
    )
    async def readyz() -> Response:
        reason = "The server stops." if desk.draining else await ready()
        if reason is None:
            return PlainTextResponse("ok")
        return _refused(Refusal(503, reason))

    @api.get("/metrics", response_class=PlainTextResponse, summary="For Prometheus")
    async def told() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return api


def _settings(form: ViewsForm) -> dict[str, Any]:
    return {name: getattr(form, name) for name in Asking.model_fields}


def _headers(made: Answer) -> dict[str, str]:
    headers = (
        {} if made.name is None else {"Content-Disposition": f'attachment; filename="{made.name}"'}
    )
    if made.notice is not None:
        headers["X-Notice"] = made.notice.encode("ascii", "replace").decode()
    return headers


def _refused(why: Refusal) -> Response:
    headers = {"Retry-After": str(RETRY_AFTER_S)} if why.status == 503 else None
    return JSONResponse({"detail": why.detail}, why.status, headers)


async def _wrong_input(request: Request, error: Exception) -> Response:
    """Answer with one line that names the field, as the app's messages do."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1])
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, ArgumentError):
        line = str(cause)
    elif name == "image":
        line = str(ArgumentError("image", f"an uploaded image ({FILE_KINDS})", "none"))
    elif first["type"] == "extra_forbidden":
        fields = ", ".join(ViewsForm.model_fields)
        line = str(ArgumentError(name, f"one of the fields {fields}", "another one"))
    else:
        line = one_line(f"{name}: {first['msg']}")
    return _refused(Refusal(422, line))
