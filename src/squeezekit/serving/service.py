"""A trained network as an HTTP service."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import torch
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel, ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from squeezekit.inference.classifier import Classifier, Prediction
from squeezekit.networks.registry import first_problem
from squeezekit.pretrained.files import model_path
from squeezekit.serving.batching import Batcher, QueueFullError
from squeezekit.serving.front_page import FrontPage
from squeezekit.serving.intake import SMALL_BYTES, Decoder, LargePictureError, Limits, pictures_of
from squeezekit.serving.live_model import LiveModel
from squeezekit.serving.updating import Updates
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.version import version

CLASSIFY = "/v1/classify"
SHOWN = 5
# Among the names of the module, where FastAPI looks for it.
BEARER = HTTPBearer(auto_error=False)
# For what is being answered when the service is asked to end.
LAST_SECONDS = 10
LATENCIES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


class Top(BaseModel):
    """One class and its probability, 0…1."""

    label: str
    probability: float


class Answer(BaseModel):
    """What a picture shows; `unsure` where the model would rather not say."""

    label: str
    probability: float
    unsure: bool
    top: list[Top]


class Answers(BaseModel):
    """One for each picture, in their order."""

    results: list[Answer]


class About(BaseModel):
    """The model in use; `since` is when it was loaded, in seconds since 1970."""

    name: str
    classes: list[str]
    image_size: int
    channels: int
    parameters: int
    threshold: float
    since: float


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": meaning}
    for status, meaning in {
        400: "no picture, or a form that cannot be read",
        401: "the token is missing or wrong",
        408: "the request took too long to arrive",
        413: "too many bytes, images or pixels",
        415: "not a picture in a known format",
        422: "a damaged picture, or a parameter out of range",
        503: "too many images wait; try again after Retry-After seconds",
    }.items()
}
BINARY = {"schema": {"type": "string", "format": "binary"}}
PARTS = {"type": "object", "properties": {"images": {"type": "array", "items": {"type": "string", "format": "binary"}}}}
BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": BINARY, "image/*": BINARY, "multipart/form-data": {"schema": PARTS}},
    }
}


class Meters:
    """What `/metrics` tells."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self.requests = Counter(
            "squeezekit_requests_total", "Requests to classify, by status", ["status"], registry=self.registry
        )
        self.seconds = Histogram(
            "squeezekit_request_seconds", "From request to answer", buckets=LATENCIES, registry=self.registry
        )
        self.batch = Histogram("squeezekit_batch_images", "Images classified at once", buckets=BATCHES, registry=own)
        self.waiting = Gauge("squeezekit_waiting_images", "Images that wait to be classified", registry=own)


class Service:
    """What the routes share."""

    def __init__(self, model: LiveModel, limits: Limits, updates: Updates | None = None) -> None:
        self.model, self.limits, self.updates, self.meters = model, limits, updates, Meters()
        self.decoder = Decoder(limits, os.cpu_count() or 1)
        self.batcher = Batcher(limits.max_waiting, limits.max_batch, self.decoder.at_once, self.meters.batch.observe)
        self.meters.waiting.set_function(lambda: self.waiting)
        self.decoding = 0
        self.ready = False

    @property
    def waiting(self) -> int:
        """Images that wait to be decoded or classified."""
        return self.batcher.waiting + self.decoding

    @asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        """Batches are classified, and the model is watched and updated, as long as this lasts."""
        watching = [asyncio.create_task(self.model.watch())]
        if self.updates is not None:
            watching.append(asyncio.create_task(self.updates.watch()))
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.model.ask)
        with self.batcher.running():
            self.ready = True
            yield
            self.ready = False
        self.decoder.end()
        for each in watching:
            each.cancel()
        await asyncio.gather(*watching, return_exceptions=True)

    async def classified(self, classifier: Classifier, files: list[bytes]) -> list[Prediction]:
        """What the pictures in `files` show; raises HTTPException and QueueFullError."""
        if sum(map(len, files)) <= SMALL_BYTES:
            with suppress(LargePictureError):
                return await self.batcher.classify(classifier, files)
        if self.waiting + len(files) > self.limits.max_waiting:
            raise QueueFullError
        self.decoding += len(files)
        try:
            pixels = await self.decoder.beside(files, classifier.config)
        finally:
            self.decoding -= len(files)
        return await self.batcher.classify(classifier, pixels)


class Metered:
    """Counts and times what is to be classified; ASGI itself, since a middleware of Starlette's costs a third of a request."""

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self.app, self.meters = app, meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] != CLASSIFY:
            return await self.app(scope, receive, send)
        begin, status = time.perf_counter(), 500

        async def seen(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, seen)
        finally:
            self.meters.requests.labels(status).inc()
            self.meters.seconds.observe(time.perf_counter() - begin)


def application(model: LiveModel, limits: Limits, token: str | None = None, updates: Updates | None = None) -> FastAPI:
    """The service; with a `token`, everything but health asks for it as a bearer token."""
    shared = Service(model, limits, updates)
    app = FastAPI(title="squeezekit", version=version(), lifespan=shared.running)
    app.add_middleware(Metered, meters=shared.meters)
    app.add_exception_handler(RequestValidationError, _unprocessable)
    app.include_router(_of_health(shared))
    # The page holds the network, which a token protects.
    app.include_router(_of_pages(None if token else FrontPage(model)))
    app.include_router(_of_model(shared), dependencies=[Depends(_guard(token))] if token else [])
    return app


def _of_model(shared: Service) -> APIRouter:
    routes = APIRouter(responses={401: REFUSALS[401]})

    @routes.post(CLASSIFY, response_model=Answers, responses=REFUSALS, openapi_extra=BODY)
    async def classify(request: Request, top: Annotated[int, Query(ge=1, le=1000)] = SHOWN) -> Response:
        """Classify one picture (the body) or several (parts of a form)."""
        files = await pictures_of(request, shared.limits)
        classifier = shared.model.classifier
        try:
            predictions = await shared.classified(classifier, files)
        except QueueFullError:
            raise HTTPException(503, "too many images wait; try again", headers={"Retry-After": "1"}) from None
        return JSONResponse({"results": [_as_json(prediction, top) for prediction in predictions]})

    @routes.get("/v1/model")
    async def about() -> About:
        """The model in use."""
        classifier = shared.model.classifier
        return About(
            name=shared.model.path.name,
            classes=list(classifier.classes),
            image_size=classifier.config.image_size,
            channels=classifier.config.channels,
            parameters=sum(one.numel() for one in classifier.model.network.parameters()),
            threshold=classifier.model.threshold,
            since=shared.model.since,
        )

    @routes.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(generate_latest(shared.meters.registry), media_type=CONTENT_TYPE_LATEST)

    return routes


def _of_health(shared: Service) -> APIRouter:
    routes = APIRouter()

    @routes.get("/healthz")
    async def alive() -> dict[str, str]:
        """Whether the process answers at all."""
        return {"status": "alive"}

    @routes.get("/readyz", responses={503: REFUSALS[503]})
    async def ready() -> dict[str, str]:
        """Whether it takes requests."""
        if not shared.ready or shared.waiting >= shared.limits.max_waiting:
            raise HTTPException(503, "not ready; try again", headers={"Retry-After": "1"})
        return {"status": "ready"}

    return routes


def _of_pages(page: FrontPage | None) -> APIRouter:
    routes = APIRouter()

    @routes.get("/", include_in_schema=False)
    async def front() -> Response:
        text = await page.text() if page else None
        return HTMLResponse(text) if text else RedirectResponse("/docs")

    return routes


async def _unprocessable(_: Request, error: Exception) -> Response:
    """One sentence, as all refusals are."""
    assert isinstance(error, RequestValidationError)
    problem = error.errors()[0]
    return JSONResponse({"detail": f"{problem['loc'][-1]}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"}, 422)


def _as_json(prediction: Prediction, top: int) -> dict[str, Any]:
    best = [{"label": label, "probability": probability} for label, probability in prediction.probabilities[:top]]
    return {"label": prediction.label, "probability": prediction.probability, "unsure": prediction.unsure, "top": best}


def _guard(token: str) -> Callable[..., None]:
    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]) -> None:
        if given is None or not hmac.compare_digest(given.credentials.encode(), token.encode()):
            raise HTTPException(401, "give the service's token: Authorization: Bearer …", headers={"WWW-Authenticate": "Bearer"})

    return check


def serve(
    model: str | Path | Updates,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    token: str | None,
    open_to_all: bool = False,
    **limits: Any,
) -> None:
    """Serve a MODEL, or what updates bring, until SIGTERM or Ctrl-C; `limits` are fields of `Limits`.

    Raises SqueezekitError for a model that cannot be loaded, a port that is taken, and a host that others can reach
    without a `token`, unless it is meant to be `open_to_all`.
    """
    if not token and not open_to_all and not _is_loopback(host):
        raise SqueezekitError(f"--host {host}: others can reach it; set a token (--token-file), or say --no-token")
    with _a_core_left():
        updates = model if isinstance(model, Updates) else None
        if isinstance(model, Updates):
            model.first()
        path = model.model if isinstance(model, Updates) else model_path(model)
        app = application(LiveModel(path), _limits(limits), token, updates)
        listening = _bound(host, port)
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=LAST_SECONDS)
        shown = f"[{host}]" if ":" in host else host
        say(f"serving {path} on http://{shown}:{listening.getsockname()[1]}, its description at /docs; Ctrl-C ends it")
        for number in (signal.SIGINT, signal.SIGTERM):
            # uvicorn listens while it runs, and sends itself the same signal again when all is answered.
            signal.signal(number, lambda *_: None)
        uvicorn.Server(config).run(sockets=[listening])


@contextmanager
def _a_core_left() -> Iterator[None]:
    """Compute on all cores but one: threads that wait for each other on busy cores wait long."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(min(before, (os.cpu_count() or 1) - 1), 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _limits(given: dict[str, Any]) -> Limits:
    try:
        return Limits(**given)
    except ValidationError as error:
        raise SqueezekitError(first_problem(error)) from None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bound(host: str, port: int) -> socket.socket:
    if not 0 <= port < 2**16:
        raise SqueezekitError(f"--port {port}: choose another port, from 1 to 65535, or 0 for any that is free")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.socket(family, kind)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, OverflowError) as error:
        problem = getattr(error, "strerror", None) or error
        raise SqueezekitError(f"--host {host} --port {port}: cannot be listened on ({problem}); choose another port") from None
    return bound
