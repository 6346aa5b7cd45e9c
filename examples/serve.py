r"""Serve a pruned model over HTTP as OpenAI does: chat completions and completions, streamed or whole, many requests at once.

    python examples/serve.py sparse --port 8000
    curl -s localhost:8000/v1/chat/completions -H 'content-type: application/json' \
         -d '{"messages": [{"role": "user", "content": "What is the capital of France?"}]}'

Needs `pip install fastapi uvicorn` beside `scap_ov[genai]`. Requests share the steps of one openvino-genai ContinuousBatchingPipeline. For
a trusted network: no keys, no TLS, no limit on requests; docs/serving.md says what a service needs beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import openvino_genai as genai

try:
    import uvicorn
    from fastapi import FastAPI, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse, StreamingResponse
    from pydantic import BaseModel, ConfigDict, Field
except ModuleNotFoundError as e:
    raise SystemExit(f"serve.py: {e.name} is not installed: pip install fastapi uvicorn") from e

import scap_ov

REASONS = {genai.GenerationFinishReason.STOP: "stop", genai.GenerationFinishReason.LENGTH: "length"}


class Message(BaseModel):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class Common(BaseModel):
    """What both endpoints take. Other fields of OpenAI's interface are refused, rather than ignored."""

    model_config = ConfigDict(extra="forbid")
    model: str | None = None
    stream: bool = False
    stream_options: dict[str, bool] = {}
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int | None = None
    stop: str | list[str] = []
    n: Literal[1] = 1


class Completion(Common):
    """The body of /v1/completions."""

    prompt: str
    max_tokens: int = Field(16, ge=1)


class Chat(Common):
    """The body of /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1)
    max_tokens: int = Field(512, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)


@dataclass
class Running:
    """A request on its way: the step thread puts token ids in, the web server takes them out."""

    handle: Any
    loop: asyncio.AbstractEventLoop
    ids: asyncio.Queue[tuple[list[int], str | None] | Exception] = field(default_factory=asyncio.Queue)

    def deliver(self) -> bool:
        """Pass on what the last step gave. :return: whether the request is over."""
        new, reason = [], None
        if self.handle.can_read():
            for output in self.handle.read().values():
                new += output.generated_ids
                reason = REASONS.get(output.finish_reason, reason)
        over = self.handle.get_status() != genai.GenerationStatus.RUNNING
        if new or over:
            ended = reason or ("length" if self.handle.get_status() == genai.GenerationStatus.IGNORED else "stop")
            self.loop.call_soon_threadsafe(self.ids.put_nowait, (new, ended if over else None))
        return over

    def fail(self, error: Exception) -> None:
        """Pass on what went wrong."""
        self.loop.call_soon_threadsafe(self.ids.put_nowait, error)


class Engine:
    """One pipeline, and the thread that takes its steps while there are requests."""

    def __init__(self, folder: str, cache_gb: int, level: float | None = None) -> None:
        scheduler = genai.SchedulerConfig()
        scheduler.cache_size, scheduler.enable_prefix_caching = cache_gb, True
        self.pipeline = scap_ov.open_pipeline(folder, "continuous_batching", level=level, scheduler_config=scheduler)
        self.tokenizer = self.pipeline.get_tokenizer()
        self._numbers, self._running, self._news = itertools.count(), [], threading.Condition()
        threading.Thread(target=self._steps, daemon=True).start()

    def start(self, prompt: str, config: genai.GenerationConfig, *, special: bool) -> tuple[Running, int]:
        """Queue a request. :return: it, and the tokens of its prompt."""
        ids = self.tokenizer.encode(prompt, add_special_tokens=special).input_ids
        running = Running(self.pipeline.add_request(next(self._numbers), ids, config), asyncio.get_running_loop())
        with self._news:
            self._running.append(running)
            self._news.notify()
        return running, ids.shape[1]

    def _steps(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._running)
                taken = list(self._running)
            try:
                self.pipeline.step()
                over = [one for one in taken if one.deliver()]
            except RuntimeError as e:  # told to all who wait, and the server goes on
                over = taken
                for one in taken:
                    one.fail(e)
            with self._news:
                self._running = [one for one in self._running if one not in over]


class Text:
    """Token ids to text, piece by piece: half characters are held back, and what may become a stop string."""

    def __init__(self, tokenizer: genai.Tokenizer, stops: list[str]) -> None:
        self._decode, self._stops = tokenizer.decode, stops
        self._ids: list[int] = []
        self._told = 0
        self.stopped = False

    def add(self, ids: list[int], *, last: bool) -> str:
        """The text that is new and certain."""
        self._ids += ids
        text = self._decode(self._ids)
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        self.stopped = bool(found)
        end = min(found) if found else len(text)
        if not last and not found:
            held = max((k for stop in self._stops for k in range(1, len(stop)) if text.endswith(stop[:k])), default=0)
            end = self._told if text.endswith("\N{REPLACEMENT CHARACTER}") else end - held
        piece, self._told = text[self._told : end], max(end, self._told)
        return piece


def config_of(asked: Completion | Chat) -> genai.GenerationConfig:
    """OpenAI's words in openvino-genai's."""
    config = genai.GenerationConfig()
    config.max_new_tokens = getattr(asked, "max_completion_tokens", None) or asked.max_tokens
    config.do_sample = asked.temperature > 0
    if config.do_sample:
        config.temperature, config.top_p = asked.temperature, asked.top_p
        config.rng_seed = time.time_ns() % 2**32 if asked.seed is None else asked.seed
    config.apply_chat_template = False  # done by the chat endpoint
    return config


def build(engine: Engine, name: str) -> FastAPI:
    """The web application."""
    app = FastAPI(title="scap_ov")

    @app.exception_handler(RequestValidationError)
    async def refuse(_: Request, error: RequestValidationError) -> JSONResponse:
        return refusal("; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors()))

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": "scap_ov"}]}

    @app.post("/v1/completions", response_model=None)
    async def completions(asked: Completion) -> JSONResponse | StreamingResponse:
        return await answer(engine, name, asked, asked.prompt, chat=False)

    @app.post("/v1/chat/completions", response_model=None)
    async def chat(asked: Chat) -> JSONResponse | StreamingResponse:
        messages = [message.model_dump() for message in asked.messages]
        return await answer(engine, name, asked, engine.tokenizer.apply_chat_template(messages, add_generation_prompt=True), chat=True)

    return app


def refusal(message: str, status: int = 400) -> JSONResponse:
    """An error as OpenAI's clients read it."""
    return JSONResponse({"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}, status)


async def answer(engine: Engine, name: str, asked: Completion | Chat, prompt: str, *, chat: bool) -> JSONResponse | StreamingResponse:
    """The response to either endpoint."""
    if asked.model not in (None, name):
        return refusal(f"the model '{asked.model}' is not served here; give '{name}'", 404)
    running, read = engine.start(prompt, config_of(asked), special=not chat)
    text = Text(engine.tokenizer, [asked.stop] if isinstance(asked.stop, str) else asked.stop)
    kind = "chat.completion" if chat else "text_completion"
    head = {"id": f"{kind}-{time.time_ns():x}", "created": int(time.time()), "model": name}
    usage = {"prompt_tokens": read, "completion_tokens": 0, "total_tokens": read}
    pieces = follow(running, text, usage)
    if asked.stream:
        include = asked.stream_options.get("include_usage", False)
        return StreamingResponse(events(pieces, head, usage, include, chat=chat), media_type="text/event-stream")
    whole, reason = "", None
    async for piece, ended in pieces:
        whole, reason = whole + piece, ended
    said = {"message": {"role": "assistant", "content": whole}} if chat else {"text": whole}
    choice = {"index": 0, **said, "finish_reason": reason, "logprobs": None}
    return JSONResponse({**head, "object": kind, "choices": [choice], "usage": usage})


async def follow(running: Running, text: Text, usage: dict[str, int]) -> AsyncIterator[tuple[str, str | None]]:
    """Pieces of text, and with the last one why it ended. A client that leaves ends its request."""
    reason = None
    try:
        while reason is None:
            came = await running.ids.get()
            if isinstance(came, Exception):
                raise came
            ids, reason = came
            piece = text.add(ids, last=reason is not None)
            reason = "stop" if text.stopped else reason
            usage["completion_tokens"] += len(ids)
            usage["total_tokens"] += len(ids)
            if piece or reason:
                yield piece, reason
    finally:
        running.handle.cancel()


async def events(
    pieces: AsyncIterator[tuple[str, str | None]], head: dict[str, Any], usage: dict[str, int], include_usage: bool, *, chat: bool
) -> AsyncIterator[str]:
    """The pieces as server-sent events."""
    head = {**head, "object": "chat.completion.chunk" if chat else "text_completion"}
    role = {"role": "assistant"}
    async for piece, reason in pieces:
        said = {"delta": {**role, "content": piece}} if chat else {"text": piece}
        role = {}
        choice = {"index": 0, **said, "finish_reason": reason, "logprobs": None}
        yield f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"
    if include_usage:
        yield f"data: {json.dumps({**head, 'choices': [], 'usage': usage})}\n\n"
    yield "data: [DONE]\n\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="what `scap-ov apply` wrote; a stock folder works as well")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--name", help="of the model, for clients; the folder's by default")
    parser.add_argument("--cache", type=int, default=2, metavar="GB", help="memory of the KV cache (default 2)")
    parser.add_argument("--level", type=float, help="of a model that was applied with --levels: the one to serve")
    args = parser.parse_args()
    app = build(Engine(args.folder, args.cache, args.level), args.name or Path(args.folder).resolve().name)
    uvicorn.run(app, host=args.host, port=args.port, log_level="warning")


if __name__ == "__main__":
    main()
