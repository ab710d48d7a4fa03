"""Seeds from every kind of file, from outlines and from a hub set."""

import gzip
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import datasets
import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pytest

from data.errors import SourceError
from data.hub import _explained, find_split, read_hub, read_hub_tables
from data.identity import identify
from data.outlines import COVERED, read_outline, walk
from data.rows import cut, encode, pick
from data.sources import find_files, passed_over, read_files

ROWS = [{"topic": "Ice", "level": "a"}, {"topic": 'Größe, "quoted"', "level": "b"}]
FRAME = pl.DataFrame(ROWS)


def arrow_stream(path: Path) -> None:
    table = FRAME.to_arrow()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def lines() -> bytes:
    return FRAME.write_ndjson().encode()


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.jsonl": lambda path: path.write_bytes(b"\xef\xbb\xbf" + lines() + b"\n\n"),
    "a.json": lambda path: path.write_text(json.dumps(ROWS)),
    "a.csv": FRAME.write_csv,
    "a.tsv": lambda path: FRAME.write_csv(path, separator="\t"),
    "a.parquet": FRAME.write_parquet,
    "a.arrow": FRAME.write_ipc,
    "b.arrow": arrow_stream,
    "a.jsonl.gz": lambda path: path.write_bytes(gzip.compress(lines())),
    "a.jsonl.zst": lambda path: path.write_bytes(pa.Codec("zstd").compress(lines(), asbytes=True)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_form_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    found = list(read_files(str(tmp_path / name)))
    assert [row for _, row in found] == ROWS
    assert all(at.startswith(f"{name}:") for at, _ in found)


def test_a_text_file_is_a_line_a_seed_and_a_folders_texts_are_documents(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n two \n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.md").write_text("# Three\n\nfour\n")
    (tmp_path / ".hidden.txt").write_text("no")
    (tmp_path / "picture.png").write_bytes(b"no")
    alone = list(read_files(str(tmp_path / "a.txt")))
    assert alone == [("a.txt:1", {"text": "one"}), ("a.txt:3", {"text": "two"})]
    folder = dict(read_files(str(tmp_path)))
    assert folder["sub/b.md:1"] == {"text": "# Three\n\nfour", "file": "b.md"}
    assert folder["a.txt:1"] == {"text": "one\n\n two", "file": "a.txt"}
    assert len(folder) == 2
    assert len(list(read_files(str(tmp_path / "*.txt"), "lines"))) == 2
    assert find_files(str(tmp_path / "**" / "*.md"))[1] == [tmp_path / "sub" / "b.md"]


def test_files_of_no_readable_kind_are_counted_by_suffix(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    assert passed_over(str(tmp_path)) == ""
    for name in ("a.yaml", "b.PDF", "c.pdf.gz", "LICENSE", "Makefile", "README.md", ".x.pdf"):
        (tmp_path / name).write_text("name: outline")
    line = passed_over(str(tmp_path))
    assert line.startswith(
        f"{tmp_path}: 4 files are passed over (.pdf, .yaml, no suffix); readable"
    )
    assert len(list(read_files(str(tmp_path)))) == 1
    assert "3 files are" in passed_over(str(tmp_path), "trees")
    assert len(list(read_files(str(tmp_path), "trees"))) == 2
    assert passed_over(str(tmp_path / "*.txt")) == passed_over(str(tmp_path / "a.txt")) == ""
    with pytest.raises(SourceError, match=r"no readable kind: \.yaml"):
        list(read_files(str(tmp_path / "a.yaml")))
    with pytest.raises(SourceError, match="holds no file to read"):
        find_files(str(tmp_path / "*.yaml"))


def test_what_files_are_follows_from_their_content(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    before = identify(str(tmp_path))
    os.utime(tmp_path / "a.txt", (1, 1))
    assert identify(str(tmp_path)) == before
    (tmp_path / "a.txt").write_text("two")
    assert identify(str(tmp_path)) != before


@pytest.mark.parametrize(
    ("name", "content", "number", "says"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a"\n', 2, "is not JSON"),
        ("a.jsonl", b'{"a": "\xff"}\n', 1, "is not JSON"),
        ("a.jsonl", b"[1]\n", 1, "is not a JSON object"),
        ("a.json", b'[{"a": 1}, 2]', 2, "is not a JSON object"),
        ("a.csv", b"a,b\n1,2\n3\n", 3, "has 1 values for 2 columns"),
        ("a.csv", b"a,b\n1,\xff\n", 2, "is not UTF-8"),
        ("a.txt", b"fine\n\xff\n", 2, "is not UTF-8"),
    ],
)
def test_a_bad_row_is_named_with_its_line_and_the_others_are_read(
    tmp_path: Path, name: str, content: bytes, number: int, says: str
) -> None:
    (tmp_path / name).write_bytes(content + b"")
    bad = [row for _, row in read_files(str(tmp_path / name)) if isinstance(row, SourceError)]
    assert len(bad) == 1
    assert str(bad[0]).startswith(f"{tmp_path / name}:{number}: {says}")


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.jsonl.gz", "a.jsonl.zst"])
def test_a_file_that_is_cut_or_none_is_named(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError, match=name):
        list(read_files(str(tmp_path / name)))
    with pytest.raises(SourceError, match="holds no file to read"):
        find_files(str(tmp_path / "none*"))


def test_columns_are_picked_by_path_and_a_missing_one_is_named() -> None:
    row = {"title": "Ice", "messages": [{"content": "Why?"}], "dotted.name": 1}
    columns = {"topic": "title", "question": "messages.0.content", "n": "dotted.name"}
    assert pick(row, columns) == {"topic": "Ice", "question": "Why?", "n": 1}
    with pytest.raises(SourceError, match=r"has no column 'body'; it has title, messages"):
        pick(row, {"text": "body"})


def test_a_text_is_cut_between_words() -> None:
    assert cut("one two three", 7) == "one two"
    assert cut("one two three", 6) == "one"
    assert cut("one two", 99) == "one two"
    assert cut("unbroken", 3) == "unb"


def test_a_row_is_written_as_sorted_json_whatever_it_holds() -> None:
    assert encode({"b": [1, 2.5], "a": "ü"}) == '{"a":"ü","b":[1,2.5]}'
    assert json.loads(encode({"a": "\ud800"}))["a"] == "\ufffd" * 3
    with pytest.raises(SourceError, match="no text or number"):
        encode({"a": b"bytes"})


BOOK = """
book: Physics
level: college
chapters:
  - title: Mechanics
    sections:
      - title: Motion
        units:
          - {title: Speed, points: [units, signs], reference: Speed is a rate.}
          - Acceleration
  - title: Heat
    units: [Temperature]
"""


def test_an_outline_is_walked_to_its_units() -> None:
    units = list(walk(read_outline(BOOK)))
    assert [unit["unit"] for unit in units] == ["Speed", "Acceleration", "Temperature"]
    assert units[0] == {
        "level": "college",
        "book": "Physics",
        "chapter": "Mechanics",
        "section": "Motion",
        "unit": "Speed",
        "covered": [],
        "focus": ["units", "signs"],
        "reference": "Speed is a rate.",
    }
    assert units[2]["covered"] == ["Speed", "Acceleration"]
    assert (units[2]["chapter"], units[2]["section"]) == ("Heat", "")


@pytest.mark.parametrize(
    "text",
    [
        "Ice: {Water: [Bonds, Angle], Air: [Cold]}",
        '{"title": "Ice", "units": [{"title": "Water", "parts": ["Bonds", "Angle"]}, '
        '{"title": "Air", "parts": ["Cold"]}]}',
        "Ice\n\n1. Water\n1.1 Bonds\n1.2 Angle\n2. Air\n2.1 Cold\n",
        "# Ice\n## Water\n### Bonds\n### Angle\n## Air\n### Cold",
        "Ice\n- Water\n  - Bonds\n  - Angle\n- Air\n  - Cold",
    ],
)
def test_every_form_of_an_outline_gives_the_same_units(text: str) -> None:
    units = list(walk(read_outline(text)))
    found = [(unit["book"], unit["chapter"], unit["unit"]) for unit in units]
    assert found == [("Ice", "Water", "Bonds"), ("Ice", "Water", "Angle"), ("Ice", "Air", "Cold")]


def test_bullets_under_numbers_are_a_units_points_and_covered_is_bounded() -> None:
    units = list(walk(read_outline("Ice\n\n1. Water\n- bonds\n- angle\n2. Air\n- cold")))
    assert [(unit["unit"], unit["focus"]) for unit in units] == [
        ("Water", ["bonds", "angle"]),
        ("Air", ["cold"]),
    ]
    many = list(walk(read_outline(json.dumps({"B": [f"u{n}" for n in range(60)]}))))
    assert many[59]["covered"] == [f"u{n}" for n in range(59 - COVERED, 59)]


@pytest.mark.parametrize("text", ["", "just a sentence", "{: [", "[[[]]]", "5", "[" * 2000])
def test_what_is_no_outline_is_named(text: str) -> None:
    with pytest.raises(SourceError, match="is no outline"):
        read_outline(text)


def hub(folder: Path) -> str:
    """A dataset as the hub lays it out: two configurations in the card, Parquet below."""
    (folder / "data").mkdir(parents=True)
    for name, rows in (("small", ROWS), ("large", ROWS * 3)):
        pl.DataFrame(rows).rename({"topic": "title"}).write_parquet(folder / f"data/{name}.parquet")
    configs = "".join(
        f"- config_name: {name}\n  data_files:\n"
        f"  - split: train_sft\n    path: data/{name}.parquet\n"
        for name in ("small", "large")
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n# A set\n")
    return str(folder)


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.usefixtures("no_cache")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_a_folder_in_the_hubs_layout_is_streamed_by_configuration_and_alias(tmp_path: Path) -> None:
    name = hub(tmp_path / "set")
    rows = [row for _, row in read_hub(name, "small", "train")]
    assert rows == [{"title": row["topic"], "level": row["level"]} for row in ROWS]
    assert sum(1 for _ in read_hub(name, "large", "train_sft")) == 6
    with pytest.raises(SourceError, match=r"has no split 'test'; it has train_sft"):
        next(read_hub(name, "small", "test"))
    with pytest.raises(SourceError, match=r"several configurations.*seeds.name.*small"):
        next(read_hub(name))


def test_splits_have_other_names() -> None:
    assert find_split(["train_sft", "test_sft"], "train") == "train_sft"
    assert find_split(["train", "test"], "train_sft") == "train"
    with pytest.raises(SourceError, match="no split 'dev'"):
        find_split(["train"], "dev")


class GatedRepoError(OSError):
    pass


class DatasetNotFoundError(FileNotFoundError):
    pass


@pytest.mark.parametrize(
    ("error", "offline", "says"),
    [
        (GatedRepoError("403"), False, "is gated; accept its terms"),
        (DatasetNotFoundError("x is a gated dataset on the Hub"), False, "is gated"),
        (DatasetNotFoundError("x does not exist"), False, "does not exist or is private"),
        (ConnectionError("no route"), False, r"out of reach \(no route\); check the network"),
        (ConnectionError("no route"), True, "the hub is switched off"),
        (RuntimeError("odd\nthing"), False, r"cannot be read \(RuntimeError: odd thing\)"),
    ],
)
def test_what_is_wrong_with_a_hub_set_is_one_line(
    error: Exception, offline: bool, says: str
) -> None:
    with pytest.raises(SourceError, match=says) as caught:
        raise _explained(error, "org/set", offline)
    assert "\n" not in str(caught.value)


def test_what_the_hubs_libraries_retry_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def away(*_: object, **__: object) -> None:
        for name in ("huggingface_hub.utils._http", "datasets.load"):
            logging.getLogger(name).warning("Retrying in 1s")
        raise ConnectionError("no route")

    for name in ("huggingface_hub", "datasets"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.WARNING)
    monkeypatch.setattr(datasets, "load_dataset", away)
    with pytest.raises(SourceError, match="out of reach"):
        list(read_hub_tables("org/set"))
    assert capfd.readouterr().err == ""
