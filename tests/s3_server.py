"""An S3 server for tests: moto's, over real HTTP on loopback, which can be made to misbehave."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.server import ThreadedMotoServer  # noqa: F401 - imports what the app needs
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

BUCKET = "builds"
Fault = Callable[[str, str], str | None]
"""Given a request's method and key, "500", "503", "slow" or "cut" (half of the body), or None."""
ERROR = b"<Error><Code>%s</Code><Message>injected</Message></Error>"
CODES = {"500": b"InternalError", "503": b"SlowDown"}


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:
        """Nothing."""


class S3Server:
    """Runs in threads of the test's; `seen` are the requests, as method and key, in order."""

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server: BaseWSGIServer = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.port}"
        self.seen: list[tuple[str, str]] = []
        self.fault: Fault | None = None
        self.client: Any = None

    def __enter__(self) -> "S3Server":
        self._thread.start()
        self.client = boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="us-east-1",
        )
        self.client.create_bucket(Bucket=BUCKET)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _answer(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        key = unquote(environ["PATH_INFO"]).removeprefix(f"/{BUCKET}").lstrip("/")
        self.seen.append((method, key))
        fault = self.fault(method, key) if self.fault else None
        if fault in CODES:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start(f"{fault} Injected", [("Content-Type", "application/xml")])
            return [ERROR % CODES[fault]]
        body: Iterable[bytes] = self._app(environ, start)
        return _misbehaving(b"".join(body), fault) if fault else body

    def objects(self, below: str = "") -> dict[str, bytes]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=below)
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        return {key.removeprefix(below).lstrip("/"): self.get(key) for key in keys}

    def get(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return content

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def put_folder(self, folder: Path, below: str) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{below}/{path.relative_to(folder)}", path.read_bytes())


def _misbehaving(content: bytes, fault: str) -> Iterator[bytes]:
    if fault == "cut":
        yield content[: len(content) // 2]
        return
    for start in range(0, len(content), max(1, len(content) // 5)):
        time.sleep(0.02)
        yield content[start : start + max(1, len(content) // 5)]
