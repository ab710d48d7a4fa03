"""A server that answers 600 words after 200 ms, as a process of its own, for benchmarks.

    python benchmarks/fake_engine.py PORT CPU [FAULTS] [LOG]

FAULTS is the share of requests that fail (5 of 8 as 500, 3 of 8 as 429 with Retry-After 1).
LOG gets a line a request that was answered: the seed of its body.
"""

import asyncio
import os
import random
import sys

import orjson
from aiohttp import web

DELAY = 0.2
TEXT = " ".join(f"word{number % 97}" for number in range(600))


def main() -> None:
    port, cpu = int(sys.argv[1]), int(sys.argv[2])
    faults = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    log = open(sys.argv[4], "a") if len(sys.argv) > 4 else None
    os.sched_setaffinity(0, {cpu})
    dice = random.Random(1)

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "fake"}]})

    async def chat(request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        await asyncio.sleep(DELAY)
        draw = dice.random()
        if draw < faults * 5 / 8:
            return web.Response(status=500, text="no")
        if draw < faults:
            return web.Response(status=429, headers={"Retry-After": "1"})
        if log:
            log.write(f"{body.get('seed')} {hash(body['messages'][-1]['content'])}\n")
            log.flush()
        reply = {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": "fake",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": f"{body.get('seed')} {TEXT}"},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 20, "completion_tokens": 600, "total_tokens": 620},
        }
        return web.Response(body=orjson.dumps(reply), content_type="application/json")

    app = web.Application()
    app.router.add_get("/v1/models", models)
    app.router.add_get("/health", models)
    app.router.add_post("/v1/chat/completions", chat)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


if __name__ == "__main__":
    main()
