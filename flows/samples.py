"""The samples stage: replies to samples, and verdicts on those that are refused."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import jsonschema
import pyarrow as pa

from data import schema
from data.tokenization import load_tokenizer
from flows.exchange import kind_failed, next_message, writable
from flows.plan import Plan, Source
from flows.stages import Runner, fill, run_parts
from prompts import Draft, Message, Refusal, Seed, TaskKind, load_row


def parse_samples(source: Source, plan: Plan, run: Runner = run_parts) -> None:
    """Replies to samples; a refused one keeps its raw reply and gets a verdict."""
    stage = source.samples
    if stage.done:
        return
    tokenizer = load_tokenizer("gpt2")

    def work(index: int) -> None:
        prompts = source.prompts.read(index).to_pylist()
        completions = source.completions.read(index).to_pylist()
        rows, verdicts = [], []
        for prompt, completion in zip(prompts, completions, strict=True):
            draft, refusal = parse_reply(source, prompt, completion)
            rows.append(_sample(source, plan, prompt, completion, draft))
            if refusal:
                verdicts.append(_verdict(prompt["id"], refusal, completion))
        _, offsets = tokenizer.encode([_whole_text(row) for row in rows])
        for row, start, end in zip(rows, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            row["tokens"] = end - start
        stage.write(index, pa.Table.from_pylist(verdicts, schema=schema.VERDICTS), "verdicts")
        stage.write(index, pa.Table.from_pylist(rows, schema=schema.SAMPLES))

    fill(stage, source.completions.count(), work, run, tables=("part", "verdicts"))


def _whole_text(row: dict[str, Any]) -> str:
    if row["text"] is not None:
        return str(row["text"])
    return "\n\n".join(message["content"] for message in row["messages"])


def parse_reply(
    source: Source, prompt: dict[str, Any], completion: dict[str, Any]
) -> tuple[Draft, Refusal | None]:
    """The sample that a row of the completions stage gives; the raw reply where it is refused."""
    reply: str = completion["text"]
    raw = Draft(reply)
    if completion["error"]:
        return raw, Refusal("server_refused", completion["error"])
    if not reply.strip():
        return raw, Refusal("empty_reply")
    if completion["finish_reason"] == "length" and source.settings.on_length == "reject":
        return raw, Refusal("cut_at_max_tokens")
    kind = load_row(source.kind, prompt["knobs"])
    wanted = kind.reply_schema()
    if wanted is not None and (problem := broken_schema(reply, wanted)):
        return raw, Refusal("breaks_schema", writable(problem))
    result = _parse(kind, completion, json.loads(prompt["seed"]))
    return (raw, result) if isinstance(result, Refusal) else (result, None)


def _parse(kind: TaskKind, completion: dict[str, Any], seed: Seed) -> Draft | Refusal:
    """What the kind makes of a reply or an exchange, fit to be written."""
    turns: list[Message] = completion["messages"] or []
    reply = {"role": "assistant", "content": completion["text"]}
    following = next_message(kind, seed, turns[1:] or [reply])
    if isinstance(following, Refusal):  # the exchange ended there
        return following
    try:
        text: str = completion["text"]
        result = kind.parse_exchange(turns, seed) if turns else kind.parse(text, seed)
        if isinstance(result, Draft) and not result.text.strip() and not result.messages:
            return Refusal("empty_after_parse")
        return dataclasses.replace(result, **_writable(vars(result)))
    except Exception as error:  # noqa: BLE001 - a kind's code may raise anything
        return kind_failed(error)


def _writable(value: Any) -> Any:
    if isinstance(value, str):
        return writable(value)
    if isinstance(value, Mapping):
        return {_writable(key): _writable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_writable(inner) for inner in value)
    return value


def broken_schema(reply: str, wanted: dict[str, Any]) -> str:
    """What is wrong with a reply that has to be JSON of a schema; empty where nothing is."""
    try:
        jsonschema.validate(json.loads(reply), wanted)
    except RecursionError:
        return "nested too deeply"
    except ValueError as error:
        return f"not JSON: {error}"
    except jsonschema.ValidationError as error:
        return f"{error.json_path}: {error.message}"[:300]
    return ""


def _sample(
    source: Source, plan: Plan, prompt: dict[str, Any], completion: dict[str, Any], draft: Draft
) -> dict[str, Any]:
    meta = {**draft.meta, "keys": completion["keys"], "knobs": json.loads(prompt["knobs"])}
    copied = ("id", "seed_id", "seed_text", "format", "audience", "topic")
    counted = ("finish_reason", "prompt_tokens", "completion_tokens")
    return {
        **{column: prompt[column] for column in copied},
        **{column: completion[column] for column in counted},
        "source": source.name,
        "kind": source.settings.kind,
        "tag": source.kind.TAG,
        "text": None if draft.messages else draft.text,
        "messages": list(draft.messages) or None,
        "prompt": prompt["messages"][-1]["content"],
        "model": plan.model.name,
        "licence": plan.recipe.engine.licence,
        "meta": json.dumps(meta, ensure_ascii=False),
    }


def _verdict(id: int, refusal: Refusal, completion: dict[str, Any]) -> dict[str, Any]:
    figures = {"detail": refusal.detail, "finish_reason": completion["finish_reason"]}
    return {
        "id": id,
        "filter": "parse",
        "reason": refusal.reason,
        "figures": json.dumps(figures),
    }
