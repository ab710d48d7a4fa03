"""One prompt row under way: the turns so far and what to ask next.

A row may take several requests: the turns of a multi-turn kind, and continuations of a reply
that was cut at max_tokens. Each is a completion of its own in the record, so a conversation
that was cut off goes on where it was.
"""

import json
from typing import Any

from data import schema
from flows.plan import Source
from inference.models import Model
from inference.record import Completion
from prompts import Message, Refusal, Seed, TaskKind, load_row


class Exchange:
    """`ask` gives the key and body of the next request until `done`; `feed` takes its reply."""

    def __init__(self, source: Source, model: Model, prompt: dict[str, Any]) -> None:
        self.source, self._model, self.prompt = source, model, prompt
        self.kind: TaskKind = load_row(source.kind, prompt["knobs"])
        self.seed: Seed = json.loads(prompt["seed"])
        self.messages: list[Message] = [dict(message) for message in prompt["messages"]]
        self._opening = len(self.messages)
        self._partial = ""
        self._continued = 0
        self.completions: list[Completion] = []
        self.done = False

    def ask(self) -> tuple[str, dict[str, Any]]:
        """The key covers everything that can change the reply, and nothing else: not where it
        is asked, nor how many are in flight."""
        body: dict[str, Any] = {
            "messages": self.messages,
            "seed": self.prompt["id"] & 0x7FFFFFFF,
            **self.source.sampling.model_dump(mode="json"),
        }
        wanted = self.kind.reply_schema()
        if wanted is not None:
            named = {"name": self.source.settings.kind, "schema": wanted}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        if self._partial:
            body["messages"] = [*self.messages, {"role": "assistant", "content": self._partial}]
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        asked = {"model": self._model.name, "revision": self._model.revision, **body}
        return schema.fingerprint(asked, digits=32), body

    def feed(self, completion: Completion) -> None:
        settings = self.source.settings
        refused = completion.error is not None
        if not (refused and self._partial):  # what there is of a continued reply stands
            self.completions.append(completion)
            if refused:
                self.done = True
                return
        self._partial += completion.text
        cut = refused or completion.finish_reason == "length"
        more = settings.on_length == "continue" and self._continued < settings.continuations
        if cut and more and completion.text:
            self._continued += 1
            return
        self.messages.append({"role": "assistant", "content": self._partial})
        self._partial, self._continued = "", 0
        if cut and settings.on_length == "reject":
            self.done = True
            return
        following = next_message(self.kind, self.seed, self.messages[self._opening :])
        if isinstance(following, str):
            self.messages.append({"role": "user", "content": following})
        else:  # the end, or a failure that parsing finds again and names
            self.done = True

    def row(self) -> dict[str, Any]:
        """The row of the completions stage, once the exchange is done."""
        last = self.completions[-1]
        turns = self.messages[self._opening - 1 :]
        replied = turns[-1]["role"] == "assistant"
        return {
            "id": self.prompt["id"],
            "keys": [completion.key for completion in self.completions],
            "text": turns[-1]["content"] if replied else self._partial,
            "messages": turns if len(turns) > 2 else None,
            "finish_reason": last.finish_reason,
            "prompt_tokens": sum(c.prompt_tokens for c in self.completions),
            "completion_tokens": sum(c.completion_tokens for c in self.completions),
            "error": last.error,
        }


def next_message(kind: TaskKind, seed: Seed, turns: list[Message]) -> str | Refusal | None:
    """The kind's `follow_up` to the turns from the first reply on; a Refusal where it fails."""
    try:
        following = kind.follow_up(seed, turns)
        return None if following is None else writable(following)
    except Exception as error:  # noqa: BLE001 - a kind's code may raise anything
        return kind_failed(error)


def kind_failed(error: Exception) -> Refusal:
    """One row's reply that its kind cannot take must not end the build."""
    return Refusal("kind_failed", writable(repr(error))[:300])


def writable(text: str) -> str:
    """Lone surrogates, which no UTF-8 file can hold, become the replacement character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
