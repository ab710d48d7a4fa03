"""`shardmill explain`: the whole story of one sample, or of one token of a shard."""

import json as js
import sys
from pathlib import Path
from typing import Any

from rich.text import Text

from flows.console import make_console
from flows.lookup import id_ranges
from flows.placing import find_token, is_address
from flows.showing import diff, one_line, visible
from flows.stored import find_out
from flows.story import Story, find_story

screen = make_console()
SHOWN = 10
STYLES = {"rejected": "bold red", "changed": "yellow", "kept": "green"}


def explain(out: Path, what: str, /, *, json: bool = False) -> None:
    """Tell a sample's story: seed, prompt, reply, changes, verdicts, duplicates, shard rows.

    Example: shardmill explain runs/demo 3fa94c0b

    Example: shardmill explain runs/demo pretrain/train-00000-of-00001.arrow:12:340

    Rejected samples too: where they fell and why.

    Parameters
    ----------
    out
        A build's folder, finished or under way.
    what
        An id as hex digits (the first six at least) or as a decimal, or SHARD:ROW:OFFSET for
        the sample that a token of a shard belongs to.
    json
        Print one JSON object.
    """
    folder, token = find_out(out), None
    ranges = []
    if is_address(what):
        id, token = find_token(folder, what)
        ranges = [(id, id)]
    story = find_story(folder, ranges or id_ranges(what), what)
    if json:
        whole = {"token": token, **story}
        sys.stdout.write(js.dumps(whole, ensure_ascii=False, indent=1, default=str) + "\n")
        return
    if token:
        _show_token(token)
    _show(story)


def _head(title: str) -> None:
    screen.print(Text(title, style="bold cyan"))


def _line(text: str, style: str = "") -> None:
    if text:
        screen.print(Text(f"  {text}", style=style))


def _block(text: str) -> None:
    for line in visible(text).split("\n"):
        screen.print(Text(f"  │ {line}"))


def _turns(messages: list[dict[str, str]]) -> None:
    for message in messages:
        _line(f"{message['role']}:", "bold")
        _block(message["content"])


def _pairs(values: dict[str, Any]) -> str:
    shown = ((key, value) for key, value in values.items() if value not in (None, [], {}, ""))
    texts = (
        (key, value if isinstance(value, str) else js.dumps(value, ensure_ascii=False))
        for key, value in shown
    )
    return ", ".join(f"{key} {one_line(value)}" for key, value in texts)


def _show_token(token: dict[str, Any]) -> None:
    trained = "trained" if token["trained"] else "not trained"
    _head(f"token {token['offset']} of {token['shard']} row {token['row']}")
    _line(f"token {token['in_document']} of its document, {trained}")
    text = Text(f"  {one_line(token['before'])}")
    text.append(one_line(token["token"]), style="bold reverse")
    text.append(one_line(token["after"]))
    screen.print(text)


def _show(story: Story) -> None:
    names = {key: story[key] for key in ("kind", "tag", "licence")}
    _head(f"{story['id']}  {story['source']} of {story['build']}: {story['state']}")
    _line(_pairs(names))
    if fell := story["fell"]:
        figures = f" ({_pairs(fell['figures'])})" if fell["figures"] else ""
        _line(f"fell at {fell['stage']}: {fell['reason']}{figures}", STYLES["rejected"])
    if seed := story["seed"]:
        _head("seed")
        _line(_pairs({key: seed[key] for key in ("id", "from", "hub", "at")}))
        _line(_pairs(seed["columns"] or {"text": seed["text"]}))
    if prompt := story["prompt"]:
        _head("prompt")
        _line(_pairs({"knobs": prompt["knobs"]}))
        _turns(prompt["messages"])
    if story["request"]:
        _head("request")
        asked = story["request"]
        _line(_pairs({key: asked[key] for key in ("model", "revision", "seed", "on_length")}))
        _line(_pairs(asked["sampling"] or {}))
    _show_reply(story)
    _show_steps(story["steps"])
    if made := story["made_from_it"]:
        _head("made from it")
        for child in made[:SHOWN]:
            _line(f"{child['source']} {child['id']}  {_pairs(child['meta'])}")
    for output in story["outputs"]:
        _show_output(output)


def _show_reply(story: Story) -> None:
    reply, sample = story["reply"], story["sample"]
    if reply:
        _head("reply")
        counts = ("finish_reason", "prompt_tokens", "completion_tokens", "error", "keys")
        _line(_pairs({key: reply[key] for key in counts}))
        for number, turn in enumerate(story["turns"], 1):
            _line(f"request {number}: {_pairs({key: turn[key] for key in counts if key in turn})}")
        if reply["messages"]:
            _turns(reply["messages"][1:])
        else:
            _block(reply["text"] or "")
    if not sample:
        return
    if not reply:
        _head("sample")
    elif sample["messages"] or sample["text"] == reply["text"]:
        _head("parse: as the reply" if sample["text"] else "parse: a conversation")
    else:
        _head("parse: changed" if not story["fell"] else "parse")
        screen.print(diff(reply["text"] or "", sample["text"]))
    if sample["messages"]:
        _turns(sample["messages"])
    elif not reply:
        _block(sample["text"])
    kept = {k: v for k, v in (sample["meta"] or {}).items() if k not in ("keys", "knobs")}
    _line(f"{sample['tokens']} GPT-2 tokens{', ' if kept else ''}{_pairs(kept)}")


def _show_steps(steps: list[Story]) -> None:
    if steps:
        _head("curation")
    for step in steps:
        reason = f" {step['reason']}" if step["reason"] else ""
        figures = f" ({_pairs(step['figures'])})" if step["figures"] else ""
        result = step["result"]
        _line(
            f"{step['step']} {step['filter']}: {result}{reason}{figures}", STYLES.get(result, "dim")
        )
        if step["before"]:
            _show_change(step["before"], step["after"])
        for note in step["notes"]:
            _line(f"  {_pairs(note)}")
        if step["cluster"]:
            _show_cluster(step["cluster"])


def _show_change(before: Story, after: Story) -> None:
    pairs = [(before["text"], after["text"])]
    if before["messages"]:
        both = zip(before["messages"], after["messages"], strict=True)
        pairs = [(old["content"], new["content"]) for old, new in both]
    for old, new in pairs:
        if old != new:
            screen.print(Text("    ") + diff(old or "", new or ""))
    _line(f"  {before['tokens']} tokens, then {after['tokens']}")


def _show_cluster(cluster: Story) -> None:
    members = cluster["members"]
    stay = {member["id"] for member in members if member["kept"]} | {cluster["kept"]}
    says = f"{len(stay)} stay" if len(stay) > 1 else f"{cluster['kept']} stays"
    _line(f"  {len(members) + 1} alike; {says}")
    for member in members[:SHOWN]:
        share = member["similarity"]
        alike = f" similarity {share}" if share is not None else ""
        _line(f"  {member['id']}{alike}{' (stays)' if member['kept'] else ''}")
    if len(members) > SHOWN:
        _line(f"  and {len(members) - SHOWN} more")


def _show_output(output: Story) -> None:
    _head(f"output {output['output']}")
    if output["rejected"]:
        _line(f"not tokenized: {_pairs(output['rejected'])}", STYLES["rejected"])
    elif output["tokens"] is None:
        _line("not tokenized yet")
    elif not output["packed"]:
        _line(f"{output['tokens']} tokens, not packed yet")
    elif not output["rows"]:
        _line(f"{output['tokens']} tokens, in no row: the mix or the length left it out")
    else:
        _line(f"{output['tokens']} tokens")
    for row in output["rows"]:
        _line(
            f"{row['split']}: {row['shard']}:{row['row']}:{row['start']} to {row['end']}, "
            f"from token {row['document_offset']} of the document"
        )
