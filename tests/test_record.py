"""The completion record: what was appended is found again, what is torn is not."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from data.errors import OutputError
from inference.record import Completion, Record, decode, encode


def key(number: int) -> str:
    return f"{number:08x}" * 4


def completion(number: int, text: str = "text") -> Completion:
    return Completion(key(number), text, "stop", 3, 4)


def append(folder: Path, *completions: Completion) -> None:
    async def run() -> None:
        with Record(folder) as record:
            await asyncio.gather(*(record.append(one) for one in completions))

    asyncio.run(run())


@pytest.mark.parametrize("text", ["", "a\nb\r\n\0", 'quo"te \\', "é 漢字 🙂", "\u2028 x"])
def test_a_line_gives_back_what_was_put_in(text: str) -> None:
    line = encode(completion(1, text))
    assert line.count(b"\n") == 1
    assert decode(line) == completion(1, text)


@pytest.mark.parametrize("flip", [3, 12, 30, -3])
def test_a_line_with_one_byte_changed_is_not_read(flip: int) -> None:
    line = bytearray(encode(completion(1)))
    line[flip] ^= 2
    assert decode(bytes(line)) is None


def test_completions_are_found_by_a_later_build(tmp_path: Path) -> None:
    append(tmp_path, completion(1, "one"), completion(2, "two"))
    append(tmp_path, completion(3, "three"))
    with Record(tmp_path) as record:
        assert len(record) == 3
        assert record.find([key(2)]) == [completion(2, "two")]
        assert record.find([key(3), key(9)]) == [completion(3, "three"), None]
        assert record.find([key(4)]) == [None]


def test_a_torn_tail_loses_only_the_torn_line(tmp_path: Path) -> None:
    append(tmp_path, completion(1), completion(2))
    (log,) = tmp_path.iterdir()
    log.write_bytes(log.read_bytes()[:-5])
    record = Record(tmp_path)
    assert len(record) == 1
    assert record.damaged == 1
    append(tmp_path, completion(2))
    assert len(Record(tmp_path)) == 2


def test_a_full_disk_fails_the_append_and_keeps_the_log_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(tmp_path, completion(1))
    write = os.write

    def half(file: int, data: bytes) -> int:
        if len(data) > 100:
            write(file, bytes(data[:40]))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data)

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OutputError, match="the disk is full"):
        append(tmp_path, completion(2, "x" * 200))
    record = Record(tmp_path)
    assert (len(record), record.damaged) == (1, 0)


def test_the_newest_completion_of_a_key_counts_and_like_keys_are_told_apart(tmp_path: Path) -> None:
    like = Completion(key(1)[:16] + "f" * 16, "like", "stop", 1, 1)
    append(tmp_path, completion(1, "old"), like)
    append(tmp_path, completion(1, "new"))
    with Record(tmp_path) as record:
        assert record.find([key(1), like.key]) == [completion(1, "new"), like]


def test_a_log_is_indexed_once_and_again_when_it_or_its_index_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(tmp_path, completion(1), completion(2))
    with Record(tmp_path) as record:
        assert len(record) == 2
    with monkeypatch.context() as patched:
        patched.setattr("inference.record.is_whole", lambda line: pytest.fail("read again"))
        assert len(Record(tmp_path)) == 2
    log, index = next(tmp_path.glob("*.jsonl")), next(tmp_path.glob("*.npz"))
    log.write_bytes(log.read_bytes() + encode(completion(3)))
    assert len(Record(tmp_path)) == 3
    whole = index.read_bytes()
    flipped = [whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :] for at in range(len(whole))]
    for damaged in (b"", whole[:40], *flipped[::11], *flipped[-80:]):
        index.write_bytes(damaged)
        with Record(tmp_path) as record:
            assert record.find([key(3), key(4)]) == [completion(3), None]
