"""A trained network as an HTTP service."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import torch
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel, ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from squeezekit.inference.classifier import Classifier, Prediction
from squeezekit.networks.registry import first_problem
from squeezekit.pretrained.files import model_path
from squeezekit.serving.admission import Admission, ServiceNames, token_check
from squeezekit.serving.auto_update import AutoUpdate
from squeezekit.serving.batching import Batcher, QueueFullError
from squeezekit.serving.connections import ConnectionLimits, connection_factory
from squeezekit.serving.demo_page import DemoPage
from squeezekit.serving.description_page import POLICY, page_of_description
from squeezekit.serving.live_model import LiveModel
from squeezekit.serving.uploads import SMALL_BYTES, LargeImageError, RequestLimits, UploadDecoder, uploaded_files
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.processors import usable_processors
from squeezekit.system.shown_text import shown
from squeezekit.system.version import version

CLASSIFY = "/v1/classify"
DEFAULT_TOP = 5
# For requests in progress when the service is asked to end, then for whatever still computes: together less than the ten seconds
# that containers are given.
SHUTDOWN_SECONDS, LAST_SECONDS = 5, 3
# On every answer. Pages have policies of their own.
HEADERS = [("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"), ("x-frame-options", "DENY")]
LATENCY_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)


class ClassProbability(BaseModel):
    """One class and its probability, 0…1."""

    label: str
    probability: float


class Answer(BaseModel):
    """The prediction for one image; `unsure` where its probability is below the model's threshold, not `known` where
    the picture is of none of its classes.
    """

    label: str
    probability: float
    unsure: bool
    known: bool
    top: list[ClassProbability]


class Answers(BaseModel):
    """One answer an image, in their order."""

    results: list[Answer]


class ModelDescription(BaseModel):
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


class ServiceMetrics:
    """The metrics that `/metrics` exposes."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self.requests = Counter(
            "squeezekit_requests_total", "Requests to classify, by status", ["status"], registry=self.registry
        )
        self.seconds = Histogram(
            "squeezekit_request_seconds", "From request to answer", buckets=LATENCY_BUCKETS, registry=self.registry
        )
        self.batch = Histogram("squeezekit_batch_images", "Images classified at once", buckets=BATCH_BUCKETS, registry=own)
        self.waiting = Gauge("squeezekit_waiting_images", "Images that wait to be classified", registry=own)


class Service:
    """The state that all routes share."""

    def __init__(self, model: LiveModel, limits: RequestLimits, updates: AutoUpdate | None = None) -> None:
        self.model, self.limits, self.updates, self.metrics = model, limits, updates, ServiceMetrics()
        self.decoder = UploadDecoder(limits, usable_processors())
        self.batcher = Batcher(limits.max_waiting, limits.max_batch, self.decoder.inline, self.metrics.batch.observe)
        self.metrics.waiting.set_function(lambda: self.waiting)
        self.decoding = 0
        self.ready = False

    @property
    def waiting(self) -> int:
        """Images that wait to be decoded or classified."""
        return self.batcher.waiting + self.decoding

    @asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        """The lifespan: batches are classified, and the model is watched and updated."""
        watching = [asyncio.create_task(self.model.watch())]
        if self.updates is not None:
            watching.append(asyncio.create_task(self.updates.watch()))
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(
            lambda _, problem: say(f"a connection failed: {problem.get('exception') or problem['message']}")
        )
        if hasattr(signal, "SIGHUP"):
            loop.add_signal_handler(signal.SIGHUP, self.model.request_reload)
        with self.batcher.running():
            self.ready = True
            yield
            self.ready = False
        self.decoder.close()
        for each in watching:
            each.cancel()
        await asyncio.gather(*watching, return_exceptions=True)

    async def classified(self, classifier: Classifier, files: list[bytes]) -> list[Prediction]:
        """A prediction for each of the image files; raises HTTPException and QueueFullError."""
        if sum(map(len, files)) <= SMALL_BYTES:
            with suppress(LargeImageError):
                return await self.batcher.classify(classifier, files)
        if self.waiting + len(files) > self.limits.max_waiting:
            raise QueueFullError
        self.decoding += len(files)
        try:
            pixels = await self.decoder.in_threads(files, classifier.config)
        finally:
            self.decoding -= len(files)
        return await self.batcher.classify(classifier, pixels)


class MetricsMiddleware:
    """Counts and times requests to classify; plain ASGI, since a middleware of Starlette's costs a third of a request."""

    def __init__(self, app: ASGIApp, metrics: ServiceMetrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] != CLASSIFY:
            return await self.app(scope, receive, send)
        begin, status = time.perf_counter(), 500

        async def send_and_record(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, send_and_record)
        finally:
            self.metrics.requests.labels(status).inc()
            self.metrics.seconds.observe(time.perf_counter() - begin)


def application(model: LiveModel, limits: RequestLimits, token: str | None = None, updates: AutoUpdate | None = None) -> FastAPI:
    """The service; with a `token`, everything but health asks for it as a bearer token."""
    shared = Service(model, limits, updates)
    # FastAPI's own pages load scripts from elsewhere.
    app = FastAPI(title="squeezekit", version=version(), lifespan=shared.running, docs_url=None, redoc_url=None)
    app.add_middleware(MetricsMiddleware, metrics=shared.metrics)
    app.add_exception_handler(RequestValidationError, _unprocessable)
    app.add_exception_handler(Exception, _failed)
    app.include_router(_health_routes(shared))
    # The page contains the network, which a token protects.
    app.include_router(_page_routes(app, None if token else DemoPage(model)))
    app.include_router(_model_routes(shared), dependencies=[Depends(token_check(token))] if token else [])
    return app


def _model_routes(shared: Service) -> APIRouter:
    routes = APIRouter(responses={401: REFUSALS[401]})

    @routes.post(CLASSIFY, response_model=Answers, responses=REFUSALS, openapi_extra=BODY)
    async def classify(request: Request, top: Annotated[int, Query(ge=1, le=1000)] = DEFAULT_TOP) -> Response:
        """Classify one image (the body) or several (parts of a form)."""
        files = await uploaded_files(request, shared.limits)
        classifier = shared.model.classifier
        try:
            predictions = await shared.classified(classifier, files)
        except QueueFullError:
            raise HTTPException(503, "too many images wait; try again", headers={"Retry-After": "1"}) from None
        return JSONResponse({"results": [_as_json(prediction, top) for prediction in predictions]})

    @routes.get("/v1/model")
    async def about() -> ModelDescription:
        """The model in use."""
        classifier = shared.model.classifier
        return ModelDescription(
            name=shown(shared.model.path.name),
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
        return Response(generate_latest(shared.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return routes


def _health_routes(shared: Service) -> APIRouter:
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


def _page_routes(app: FastAPI, page: DemoPage | None) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    async def front() -> Response:
        text = await page.html() if page else None
        # The page names the hashes of its script and style itself.
        policy = {"Content-Security-Policy": "frame-ancestors 'none'"}
        return HTMLResponse(text, headers=policy) if text else RedirectResponse("/docs")

    @routes.get("/docs")
    async def docs(request: Request) -> Response:
        text = page_of_description(app.openapi(), f"http://{request.headers.get('host', 'localhost')}")
        return HTMLResponse(text, headers={"Content-Security-Policy": POLICY})

    return routes


async def _unprocessable(_: Request, error: Exception) -> Response:
    """The first validation error as one sentence."""
    assert isinstance(error, RequestValidationError)
    problem = error.errors()[0]
    return JSONResponse({"detail": f"{problem['loc'][-1]}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"}, 422)


def _say_problem(_: asyncio.AbstractEventLoop, problem: dict[str, Any]) -> None:
    say(f"a connection failed: {problem.get('exception') or problem['message']}")


async def _failed(_: Request, __: Exception) -> Response:
    return JSONResponse({"detail": "the service failed at this request; its operator finds the reason in its messages"}, 500)


def _as_json(prediction: Prediction, top: int) -> dict[str, Any]:
    if not math.isfinite(prediction.probability):
        raise HTTPException(500, "the model's answer for a picture is not a number; another model is needed")
    best = [{"label": label, "probability": probability} for label, probability in prediction.probabilities[:top]]
    answer = {"label": prediction.label, "probability": prediction.probability, "unsure": prediction.unsure}
    return {**answer, "known": prediction.known, "top": best}


def serve(
    model: str | Path | AutoUpdate,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    token: str | None,
    open_to_all: bool = False,
    allow_host: Iterable[str] = (),
    **limits: Any,
) -> None:
    """Serve a MODEL, or one that is kept up to date, until SIGTERM or Ctrl-C; `limits` are fields of `RequestLimits`.

    Requests must call the service by an address, `localhost`, `host`, the machine's name, or a name in `allow_host` ("*" allows
    all). Raises SqueezekitError for a model that cannot be loaded, a port that is taken, and a host that others can reach
    without a `token`, unless it is meant to be `open_to_all`.
    """
    if not token and not open_to_all and not _is_loopback(host):
        raise SqueezekitError(f"--host {host}: others can reach it; set a token (--token-file), or say --no-token")
    names, bounds = ServiceNames(host, allow_host), _limits(limits)
    with _one_core_free():
        updates = model if isinstance(model, AutoUpdate) else None
        if isinstance(model, AutoUpdate):
            model.first()
        path = model.model if isinstance(model, AutoUpdate) else model_path(model)
        app = Admission(application(LiveModel(path), bounds, token, updates), names)
        listening = _listening_socket(host, port)
        shown_host = f"[{host}]" if ":" in host else host
        say(f"serving {path} on http://{shown_host}:{listening.getsockname()[1]}, its description at /docs; Ctrl-C ends it")
        if not _is_loopback(host):
            say(f"it goes by its addresses and the names {names}; allow others with --allow-host")
        for number in (signal.SIGINT, signal.SIGTERM):
            # uvicorn handles signals while it runs, and raises them again when it has ended.
            signal.signal(number, lambda *_: None)
        server = uvicorn.Server(_server_settings(app, ConnectionLimits(bounds.seconds, bounds.max_connections)))
        with _ends_in_time(server):
            server.run(sockets=[listening])


def _server_settings(app: ASGIApp, limits: ConnectionLimits) -> uvicorn.Config:
    # Both would warn of each bad request.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    return uvicorn.Config(
        app,
        # uvicorn only calls it.
        http=connection_factory(limits),  # type: ignore[arg-type]
        ws="none",
        headers=HEADERS,
        server_header=False,
        log_level="error",
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


@contextmanager
def _ends_in_time(server: uvicorn.Server) -> Iterator[None]:
    """End the process, whatever it computes, when the server has been asked to end and its time is over."""
    ended = threading.Event()

    def watch() -> None:
        while not server.should_exit:
            if ended.wait(0.2):
                return
        if not ended.wait(SHUTDOWN_SECONDS + LAST_SECONDS):
            say("ended while requests were in progress")
            os._exit(1)

    threading.Thread(target=watch, name="end", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


@contextmanager
def _one_core_free() -> Iterator[None]:
    """Compute on all cores but one: torch's threads wait for each other, and long where a core is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(min(before, usable_processors() - 1), 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _limits(given: dict[str, Any]) -> RequestLimits:
    try:
        return RequestLimits(**given)
    except ValidationError as error:
        raise SqueezekitError(first_problem(error)) from None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listening_socket(host: str, port: int) -> socket.socket:
    if not 0 <= port < 2**16:
        raise SqueezekitError(f"--port {port}: choose another port, from 1 to 65535, or 0 for any that is free")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.socket(family, kind)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, ValueError, OverflowError) as error:
        # A name that cannot be one is a ValueError.
        problem = getattr(error, "strerror", None) or error
        raise SqueezekitError(f"--host {host} --port {port}: cannot be listened on ({problem}); choose another port") from None
    return bound
