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
from prompts import Message, Seed, TaskKind, load_row


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
        self.completions.append(completion)
        if completion.error is not None:
            self.done = True
            return
        self._partial += completion.text
        cut = completion.finish_reason == "length"
        more = settings.on_length == "continue" and self._continued < settings.continuations
        if cut and more and completion.text:
            self._continued += 1
            return
        self.messages.append({"role": "assistant", "content": self._partial})
        self._partial, self._continued = "", 0
        if cut and settings.on_length == "reject":
            self.done = True
            return
        following = self.kind.follow_up(self.seed, self.messages[self._opening :])
        if following is None:
            self.done = True
        else:
            self.messages.append({"role": "user", "content": following})

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
