"""An OpenAI-compatible server for tests whose replies depend on the request alone."""

import asyncio
import hashlib
import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any

from aiohttp import web

WORDS = [
    "river",
    "stone",
    "lamp",
    "garden",
    "copper",
    "winter",
    "letter",
    "bridge",
    "window",
    "sailor",
    "market",
    "feather",
    "signal",
    "forest",
    "engine",
    "mirror",
    "candle",
    "island",
    "ladder",
    "harvest",
    "number",
    "orchard",
    "pebble",
    "quarry",
    "ribbon",
]
SMALL_WORDS = ["the", "of", "in", "with", "and", "for", "from", "by", "to the", "that"]

Fault = Callable[[dict[str, Any], int], "web.Response | str | None"]
"""Given a request's body and how often it was asked before, an answer in place of the reply:
a response, "cut" (the connection, in the middle of the body) or "hang" (no answer ever)."""


def reply_to(body: dict[str, Any]) -> str:
    """Text of the form that the demo's kinds ask for, different for different requests."""
    asked = body["messages"][-1]["content"]
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    dice = random.Random(digest)
    if "response_format" in body:
        wanted = body["response_format"]["json_schema"]["schema"]["properties"]
        if "reason" in wanted:
            values = {name: dice.choice(w["enum"]) for name, w in wanted.items() if "enum" in w}
            return json.dumps({"reason": f"Because of the {dice.choice(WORDS)}.", **values})
        return json.dumps({"units": [{"title": w, "points": [w, w]} for w in WORDS[:2]]})
    pieces = [
        f"{dice.choice(SMALL_WORDS)} {dice.choice(WORDS)}" for _ in range(dice.randint(30, 80))
    ]
    sentences = [" ".join(pieces[at : at + 8]) for at in range(0, len(pieces), 8)]
    prose = " ".join(f"{sentence.capitalize()}." for sentence in sentences)
    if name := re.search(r"def (\w+)", asked):
        return f"```python\ndef {name[1]}(*args):\n    # {prose}\n    return args\n```"
    if "word problem" in asked:
        a, b = dice.randint(2, 90), dice.randint(2, 90)
        return f"Problem: {prose} How many?\nSolution:\n{a} + {b} = {a + b}\nAnswer: {a + b}"
    if "Play this scene" in asked:
        spoken = zip(prose.split()[::2], prose.split()[1::2], strict=False)
        return "\n".join(f"{'AB'[n % 2]}na: {a} {b}" for n, (a, b) in enumerate(spoken))
    if "numbered steps" in asked:
        return f"{prose}\n1. Take it.\n2. Look for {digest}.\n3. Turn it.\n4. Wait."
    if used := re.findall(r'"(\w+)"', asked):
        return f"{' '.join(used)} {prose}"
    return prose


class FakeServer:
    """Runs in a thread of the test's; `asked` counts how often each request came."""

    def __init__(
        self, model: str = "fake", delay: float = 0.0, fault: Fault | None = None, port: int = 0
    ) -> None:
        self.port = port
        self.model, self.delay, self.fault = model, delay, fault
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._ready = threading.Event()
        self._runner: web.AppRunner | None = None

    def __enter__(self) -> "FakeServer":
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the fake server did not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    @property
    def requests(self) -> int:
        return sum(self.asked.values())

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._loop.run_forever()
        if self._runner:
            self._loop.run_until_complete(self._runner.cleanup())
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._ready.set()

    async def _cut(self, request: web.Request) -> web.Response:
        stream = web.StreamResponse(headers={"Content-Length": "5000"})
        await stream.prepare(request)
        await stream.write(b'{"choices": [{"mess')
        if request.transport:
            request.transport.abort()
        return web.Response()

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": self.model}]})

    async def _chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        key = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        before = self.asked[key]
        self.asked[key] += 1
        self.bodies.append(body)
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.fault and (answer := self.fault(body, before)):
            if isinstance(answer, web.Response):
                return answer
            if answer == "hang":
                await asyncio.sleep(3600)
            return await self._cut(request)
        text = reply_to(body)
        self.answered[key] += 1
        return web.json_response(
            {
                "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 20, "completion_tokens": len(text.split())},
            }
        )
