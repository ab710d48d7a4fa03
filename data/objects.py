"""Objects of an S3 bucket through s3fs: listed, fetched, put and removed, retried within bounds.

Endpoint, region and keys come from the environment or AWS's own files, as for any client.
"""

import contextlib
import errno
import hashlib
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from data.errors import StoreError
from data.places import Address

R = TypeVar("R")
PATIENCE = 120.0
"""Seconds for which a store that fails or does not answer is asked again."""
FIRST_PATIENCE = 8.0
"""The same before it has answered at all: a wrong endpoint is to be told soon."""
READ_SECONDS, CONNECT_SECONDS = 60, 5
SIDE_BY_SIDE = 8
PIECE = 1 << 24
"""Larger files are sent in pieces of this size, which appear as one object or not at all."""
SHA256 = "sha256"
"""Metadata of what we put: the checksum of the object as a whole."""
_PASSING = (errno.EREMOTEIO, errno.EBUSY, errno.EIO)
"""What s3fs makes of 500, 503 and codes that it does not know."""
_LINK = re.compile(r"(endpoint URL: )?\"?https?://\S+")


class Object(NamedTuple):
    """`etag` is the MD5 of what was put in one piece without a key of its own; `modified` in
    seconds since 1970, by the store's clock."""

    size: int
    etag: str
    modified: float


class Objects:
    """The objects below an address, named from there. Everything raises StoreError."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._answered = False

    def find(self, below: str = "") -> dict[str, Object]:
        """All objects whose names begin with `below`."""
        base = f"{self.address.key}/" if self.address.key else ""
        found: dict[str, Object] = {}
        more: dict[str, str] = {}
        while True:
            page = self._ask(
                lambda fs: fs.call_s3(
                    "list_objects_v2",
                    Bucket=self.address.bucket,
                    Prefix=base + below,
                    **more,  # noqa: B023 - called at once
                )
            )
            for item in page.get("Contents", ()):
                about = Object(
                    item["Size"], item["ETag"].strip('"'), item["LastModified"].timestamp()
                )
                if not item["Key"].endswith("/"):  # what consoles leave for a folder
                    found[item["Key"].removeprefix(base)] = about
            if not page.get("IsTruncated"):
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def head(self, name: str) -> tuple[Object, str | None, float] | None:
        """An object, the checksum that it was put with, and the store's time; None where there
        is none."""
        with contextlib.suppress(FileNotFoundError):
            found = self._ask(lambda fs: fs.call_s3("head_object", **self._named(name)))
            now = _http_time(found["ResponseMetadata"]["HTTPHeaders"].get("date"))
            about = Object(
                found["ContentLength"],
                found["ETag"].strip('"'),
                found["LastModified"].timestamp(),
            )
            return about, found.get("Metadata", {}).get(SHA256), now
        return None

    def read(self, name: str) -> bytes | None:
        """A small object; None where there is none."""
        with contextlib.suppress(FileNotFoundError):
            content: bytes = self._ask(lambda fs: fs.cat_file(self._path(name)))
            return content
        return None

    def get(self, name: str, path: Path) -> bool:
        """Write an object to `path`, which is only to be trusted once this has returned True;
        False where there is none."""
        with contextlib.suppress(FileNotFoundError):
            self._ask(lambda fs: fs.get_file(self._path(name), str(path)))
            return True
        return False

    def put(self, name: str, content: bytes, *, new: bool = False) -> bool:
        """A small object; with `new` only where there is none, which is False otherwise."""
        digest = {SHA256: hashlib.sha256(content).hexdigest()}
        only = {"IfNoneMatch": "*"} if new else {}
        try:
            self._ask(
                lambda fs: fs.call_s3(
                    "put_object", **self._named(name), Body=content, Metadata=digest, **only
                )
            )
        except FileExistsError:
            return False
        return True

    def put_file(self, name: str, path: Path, sha256: str) -> None:
        metadata = {SHA256: sha256}
        self._ask(
            lambda fs: fs.put_file(
                str(path), self._path(name), chunksize=PIECE, Metadata=metadata, max_concurrency=2
            )
        )

    def remove(self, names: list[str]) -> None:
        for start in range(0, len(names), 1000):
            keys = [{"Key": self.address.below(n).key} for n in names[start : start + 1000]]
            wanted = {"Objects": keys, "Quiet": True}
            answer = self._ask(
                lambda fs: fs.call_s3(
                    "delete_objects",
                    Bucket=self.address.bucket,
                    Delete=wanted,  # noqa: B023 - called at once
                )
            )
            for problem in answer.get("Errors", ()):
                raise StoreError(
                    f"cannot be removed ({problem.get('Message') or problem.get('Code')})",
                    where=f"s3://{self.address.bucket}/{problem.get('Key')}",
                    fix="check what its keys may do",
                )

    def _named(self, name: str) -> dict[str, str]:
        return {"Bucket": self.address.bucket, "Key": self.address.below(name).key}

    def _path(self, name: str) -> str:
        return f"{self.address.bucket}/{self.address.below(name).key}"

    def _ask(self, call: Callable[[Any], R]) -> R:
        """The answer; asked again while trouble may pass. FileNotFoundError and FileExistsError
        of an object are for the caller."""
        started, wait = time.monotonic(), 0.25
        while True:
            try:
                answer = call(_file_system())
            except Exception as error:
                if _is_missing(error) or isinstance(error, FileExistsError):
                    self._answered = True
                    raise
                if _code(error) == "PreconditionFailed":
                    raise FileExistsError from error
                patience = PATIENCE if self._answered else FIRST_PATIENCE
                if not _may_pass(error) or time.monotonic() - started + wait > patience:
                    raise _explained(error, self.address) from error
            else:
                self._answered = True
                return answer
            time.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(2 * wait, 10.0)


def in_parallel(work: Callable[[R], object], items: list[R]) -> None:
    """Raises the first error, once all that had begun has ended."""
    if not items:
        return
    with ThreadPoolExecutor(min(SIDE_BY_SIDE, len(items))) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in futures:
                future.result()
        finally:
            for future in futures:
                future.cancel()


_made: Any = None
_making = threading.Lock()


def _file_system() -> Any:
    """One for the process: s3fs keeps its connections in a thread of its own."""
    global _made  # noqa: PLW0603
    with _making:
        if _made is None:
            try:
                import s3fs  # noqa: PLC0415 - a second, for stores alone
            except ImportError as error:
                raise StoreError(
                    "object stores need s3fs", fix="pip install s3fs -c constraints.txt"
                ) from error
            _made = s3fs.S3FileSystem(
                skip_instance_cache=True,
                use_listings_cache=False,
                config_kwargs={
                    "connect_timeout": CONNECT_SECONDS,
                    "read_timeout": READ_SECONDS,
                    "max_pool_connections": 32,
                    "retries": {"mode": "standard", "total_max_attempts": 2},
                },
            )
            _made.retries = 1  # `_ask` is the one that waits
    return _made


def forget_session() -> None:
    """Read endpoint and keys anew at the next request."""
    global _made  # noqa: PLW0603
    with _making:
        _made = None


def _http_time(text: str | None) -> float:
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    return parsedate_to_datetime(text).timestamp() if text else time.time()


def _is_missing(error: Exception) -> bool:
    """An object, not a bucket."""
    return isinstance(error, FileNotFoundError) and "bucket" not in str(error).lower()


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _code(error: Exception) -> str:
    """What the store itself calls it."""
    answers = (getattr(cause, "response", None) for cause in _causes(error))
    found = (answer.get("Error", {}) for answer in answers if isinstance(answer, dict))
    return next((str(about["Code"]) for about in found if "Code" in about), "")


def _names(error: Exception) -> set[str]:
    return {cls.__name__ for cls in type(error).__mro__}


def _may_pass(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in _PASSING:
        return True
    passing = {"HTTPClientError", "ClientError", "TimeoutError", "ConnectionError", "ServerError"}
    if isinstance(error, FileNotFoundError | PermissionError):
        return False
    return bool(_names(error) & (passing | {"IncompleteReadError", "ResponseParserError"}))


def _explained(error: Exception, address: Address) -> StoreError:
    """One line of what four libraries call a dozen things."""
    names = _names(error)
    text = _LINK.sub("its endpoint", " ".join(str(error).split()))[:160]  # may hold a login
    code, where = _code(error), str(address)
    if isinstance(error, StoreError):
        return error
    if isinstance(error, FileNotFoundError) or code == "NoSuchBucket":
        bucket = f"the bucket {address.bucket} does not exist"
        return StoreError(bucket, where=where, fix="check its name, or make it")
    if names & {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}:
        fix = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        return StoreError("there are no keys for the store", where=where, fix=fix)
    if isinstance(error, PermissionError) or code in ("AccessDenied", "403"):
        fix = "check the keys and what they may do"
        return StoreError(f"the store refuses ({code or text})", where=where, fix=fix)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        fix = "free some space, or choose another folder with SHARDMILL_SCRATCH"
        return StoreError("the disk that holds the copy is full", where=where, fix=fix)
    if names & {"HTTPClientError", "ConnectionError", "EndpointConnectionError", "TimeoutError"}:
        fix = "check the network and AWS_ENDPOINT_URL; the same command goes on"
        return StoreError(f"the store cannot be reached ({text})", where=where, fix=fix)
    kind = code or type(error).__name__
    return StoreError(f"the store fails ({kind}: {text})", where=where, fix="try again later")
