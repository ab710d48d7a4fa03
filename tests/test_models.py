"""Which model a recipe means, and when a local one is another."""

from pathlib import Path

import pytest

from inference.models import resolve


def test_a_local_model_is_another_when_any_byte_of_its_weights_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARDMILL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    weights = folder / "model.safetensors"
    weights.write_bytes(bytes(5 << 20))
    before = resolve(str(folder), None).revision
    with monkeypatch.context() as patched:
        patched.setattr("inference.models.sha256_file", lambda path: pytest.fail("read again"))
        assert resolve(str(folder), None).revision == before
    with weights.open("r+b") as file:
        file.seek(2_500_000)
        file.write(b"x")
    after = resolve(str(folder), None).revision
    assert after != before
    (tmp_path / "cache" / "digests.json").write_text("{torn")
    assert resolve(str(folder), None).revision == after
