"""A server that answers 600 words after 200 ms, as a process of its own, for benchmarks.

    python benchmarks/fake_engine.py PORT CPU [FAULTS] [LOG]

FAULTS is the share of requests that fail (5 of 8 as 500, 3 of 8 as 429 with Retry-After 1).
LOG gets a line a request that was answered: the seed of its body and a hash of its prompt.
It reads just the HTTP that is needed, so that a core of it bears more than its clients ask.
"""

import asyncio
import os
import random
import sys
import zlib

import httptools
import orjson

DELAY = 0.2
TEXT = " ".join(f"word{number % 97}" for number in range(600))
MODELS = orjson.dumps({"object": "list", "data": [{"id": "fake"}]})


class Engine(asyncio.Protocol):
    faults, log, dice = 0.0, -1, random.Random(1)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.path, self.body, self.keep = b"", b"", True

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.path = url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        body, self.body = self.body, b""
        self.keep = self.parser.should_keep_alive()
        if self.path.endswith(b"/chat/completions"):
            asyncio.get_running_loop().call_later(DELAY, self.chat, body)
        else:
            self.answer(b"200 OK", MODELS)

    def chat(self, content: bytes) -> None:
        draw = self.dice.random()
        if draw < self.faults * 5 / 8:
            return self.answer(b"500 Internal Server Error", b"no")
        if draw < self.faults:
            return self.answer(b"429 Too Many Requests\r\nRetry-After: 1", b"")
        body = orjson.loads(content)
        if self.log >= 0:
            prompt = zlib.crc32(body["messages"][-1]["content"].encode())
            os.write(self.log, f"{body.get('seed')} {prompt}\n".encode())
        message = {"role": "assistant", "content": f"{body.get('seed')} {TEXT}"}
        reply = {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": "fake",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 600, "total_tokens": 620},
        }
        return self.answer(b"200 OK", orjson.dumps(reply))

    def answer(self, status: bytes, body: bytes) -> None:
        head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        if isinstance(self.transport, asyncio.Transport) and not self.transport.is_closing():
            self.transport.write(head % (status, len(body)) + body)
            if not self.keep:
                self.transport.close()


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Engine, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def main() -> None:
    port, cpu = int(sys.argv[1]), int(sys.argv[2])
    Engine.faults = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    if len(sys.argv) > 4:
        Engine.log = os.open(sys.argv[4], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.sched_setaffinity(0, {cpu})
    asyncio.run(serve(port))


if __name__ == "__main__":
    main()
