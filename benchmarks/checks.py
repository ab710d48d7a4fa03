"""What math_steps and code_checks pass and reject on solutions that people wrote.

    python -m benchmarks.checks math GSM8K.jsonl      lines with `answer` (and `question`)
    python -m benchmarks.checks code HUMANEVAL.jsonl  lines with `prompt`, `canonical_solution`, ...

Prints the share of gold solutions that pass, and of those with one number of a step changed that
are rejected: in the text and its <<a*b=c>> alike, in the text of solutions without <<>>, and in
the <<>> alone.
"""

import argparse
import json
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa

from data import schema
from filters import Filter
from filters.code_checks import CodeChecks
from filters.math_steps import MathSteps

_NUMBER = re.compile(r"(?<![\d.,])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|(?<![\d.])\.\d+")
_NOTE = re.compile(r"<<([^<>]*)>>")
_EQUATION = re.compile(
    r"[\d$(.][\d\s$%.,()+*/x-]*[+*/x-]\s*[\d$(.][\d\s$%.,()+*/x-]*=\s*\$?[\d.,]*\d"
)


def frame(texts: Sequence[str], tag: str, prompts: Sequence[str] = ()) -> pl.DataFrame:
    rows = [
        {"id": number, "text": text, "tag": tag, "prompt": prompts[number] if prompts else None}
        for number, text in enumerate(texts)
    ]
    return pl.DataFrame(pa.Table.from_pylist(rows, schema=schema.SAMPLES))


def other_number(shown: str, rng: random.Random) -> str:
    """The number with one digit changed, in the same form."""
    places = [index for index, letter in enumerate(shown) if letter.isdigit()]
    place = rng.choice(places)
    digits = [digit for digit in "0123456789" if digit != shown[place]]
    if place == 0 and len(shown) > 1 and shown[1].isdigit():
        digits = [digit for digit in digits if digit != "0"]
    return shown[:place] + rng.choice(digits) + shown[place + 1 :]


def change_everywhere(answer: str, rng: random.Random) -> str | None:
    """One number of one <<>>, and its counterpart in the text around it."""
    notes = [note for note in _NOTE.finditer(answer) if _worth(note[1])]
    if not notes:
        return change_text(answer, rng)
    note = rng.choice(notes)
    number = rng.choice(list(_NUMBER.finditer(note[1])))
    new = other_number(number.group(), rng)
    inside = note[1][: number.start()] + new + note[1][number.end() :]
    head, tail = answer[: note.start()], answer[note.end() :]
    left = number.end() <= note[1].index("=")
    line = head.rfind("\n") + 1
    end = tail.find("\n") if "\n" in tail else len(tail)
    places = _same(head[line:], number.group()) if left else _same(tail[:end], number.group())
    if places and left:
        start, stop = places[-1]
        head = head[: line + start] + new + head[line + stop :]
    elif places:
        start, stop = places[0]
        tail = tail[:start] + new + tail[stop:]
    return f"{head}<<{inside}>>{tail}"


def _worth(note: str) -> bool:
    return bool(re.search(r"\d.*[-+*/].*=", note)) and bool(_NUMBER.search(note))


def _same(text: str, shown: str) -> list[tuple[int, int]]:
    value = float(shown.replace(",", ""))
    return [m.span() for m in _NUMBER.finditer(text) if float(m.group().replace(",", "")) == value]


def change_text(answer: str, rng: random.Random) -> str | None:
    """One number of an equation in the text, the <<>> taken out."""
    answer = _NOTE.sub("", answer)
    equations = list(_EQUATION.finditer(answer.partition("####")[0]))
    if not equations:
        return None
    equation = rng.choice(equations)
    number = rng.choice(list(_NUMBER.finditer(equation.group())))
    start, end = equation.start() + number.start(), equation.start() + number.end()
    return answer[:start] + other_number(number.group(), rng) + answer[end:]


def change_note(answer: str, rng: random.Random) -> str | None:
    """One number of a <<>>, the text left alone."""
    notes = [note for note in _NOTE.finditer(answer) if _worth(note[1])]
    if not notes:
        return None
    note = rng.choice(notes)
    number = rng.choice(list(_NUMBER.finditer(note[1])))
    start, end = note.start(1) + number.start(), note.start(1) + number.end()
    return answer[:start] + other_number(number.group(), rng) + answer[end:]


def change_answer(answer: str, rng: random.Random) -> str | None:
    body, mark, final = answer.rpartition("####")
    return f"{body}{mark} {other_number(final.strip(), rng)}" if mark else None


CHANGES: dict[str, Callable[[str, random.Random], str | None]] = {
    "one number of a step, text and <<>> alike": change_everywhere,
    "one number of a step, no <<>>": change_text,
    "one number of a <<>> only": change_note,
    "the final answer": change_answer,
}


def cpu_seconds() -> float:
    """Of this process and of those it has waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def judge(judged: Filter, samples: pl.DataFrame) -> tuple[Counter[str], float]:
    began = cpu_seconds()
    reasons = judged.reasons(samples)
    seconds = cpu_seconds() - began
    return Counter(reason or "passes" for reason in reasons), seconds


def report(name: str, found: Counter[str], seconds: float) -> None:
    total = found.total()
    shown = ", ".join(f"{reason} {count}" for reason, count in found.most_common())
    print(f"{name}: {total} samples, {total / seconds:.0f} a CPU second; {shown}; ", end="")
    print(f"{found['passes'] / total:.2%} pass, {1 - found['passes'] / total:.2%} rejected")


def math(path: Path, seed: int, show: int) -> None:
    answers = [row["answer"] for row in read(path)]
    judged = MathSteps()
    gold, changed = frame(answers, "Math"), {}
    report("gold", *judge(judged, gold))
    bare = [_NOTE.sub("", answer) for answer in answers]
    report("gold without <<>>", *judge(judged, frame(bare, "Math")))
    for name, change in CHANGES.items():
        rng = random.Random(seed)
        made = [text for answer in answers if (text := change(answer, rng))]
        changed[name] = samples = frame(made, "Math")
        report(name, *judge(judged, samples))
        kept = samples.filter(judged.reasons(samples).is_null())["text"].head(show)
        for text in kept:
            print("   passes:", text.replace("\n", " | "))


def code(path: Path) -> None:
    rows = list(read(path))
    samples = frame(
        [
            f"{row['prompt']}{row['canonical_solution']}\n{row['test']}\ncheck({row['entry_point']})"
            for row in rows
        ],
        "Code",
        [row["prompt"] for row in rows],
    )
    doctests = frame([row["prompt"] + row["canonical_solution"] for row in rows], "Code")
    solutions = frame(
        [
            row["prompt"] + "    return None\n" + row["test"] + f"\ncheck({row['entry_point']})"
            for row in rows
        ],
        "Code",
    )
    for name, given, judged in (
        ("parsed", samples, CodeChecks()),
        ("run with their asserts", samples, CodeChecks(run=True)),
        ("run with their doctests", doctests, CodeChecks(run=True)),
        ("bodies that return None, run", solutions, CodeChecks(run=True)),
    ):
        began = cpu_seconds()
        reasons = judged.reasons(given)
        seconds = cpu_seconds() - began
        report(name, Counter(reason or "passes" for reason in reasons), seconds)
        rejected = given.filter(reasons.is_not_null())
        if len(rejected) < 20:
            for id, why, detail in zip(
                rejected["id"],
                reasons.drop_nulls(),
                judged.figures(rejected)["detail"],
                strict=True,
            ):
                print("   ", rows[id]["task_id"], why, detail)


def read(path: Path) -> Iterator[dict[str, str]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["math", "code"])
    parser.add_argument("path", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=0, help="changed samples that pass")
    given = parser.parse_args()
    if given.what == "math":
        math(given.path, given.seed, given.show)
    else:
        code(given.path)


if __name__ == "__main__":
    main()
