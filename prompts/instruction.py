"""A user's instruction about a topic, and the answer: both by the model, one after the other."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, assistant, user
from prompts._reply import clean
from prompts._text import in_sentence
from prompts._turns import user_message

FORMS = {
    "question": "a question about one fact that somebody needs for a purpose of their own; the "
    "purpose is named",
    "explain": "a request to explain one thing to a certain person, who is described",
    "write": "a request to write a short text (a letter, a notice, a poem, a caption), with its "
    "reader and its length",
    "list": "a request for a list of a given number of ideas, with two conditions they must meet",
    "compare": "a request to compare two things and to recommend one for a case that is described",
    "advise": "a request for advice by somebody who tells their situation in two sentences",
}
EXAMPLES_OF = {
    "question": "I am packing for a week in the mountains in May. How cold does it get at night "
    "at 2,000 metres?",
    "explain": "Explain to my grandfather, who repaired radios all his life, how a phone finds "
    "out where it is.",
    "write": "Write a notice of about 50 words for the staircase: the water is off on Tuesday "
    "from eight to noon.",
    "list": "Give me five games for ten children in a small room. No balls, and nothing that "
    "needs more than paper.",
    "compare": "Wool or down for a sleeping bag? I paddle, so it will get wet sooner or later.",
    "advise": "I promised to play at my sister's wedding and my wrist hurts since Monday. There "
    "are nine days left. What should I do?",
}
SEED = {"topic": "Why ice floats", "category": "Physics", "focus": ["density"]}


class Instruction(TaskKind):
    """A user's instruction about a topic, and the answer: both by the model, in two requests."""

    NEEDS: ClassVar[Mapping[str, type]] = {"topic": str, "category": str}

    form: Literal["question", "explain", "write", "list", "compare", "advise"] = "question"

    def messages(self, seed: Seed) -> list[Message]:
        shown = self._ask("everyday life", "things people ask")
        asked = self._ask(in_sentence(str(seed["topic"])), str(seed["category"]))
        return user(shown) + assistant(EXAMPLES_OF[self.form]) + user(asked)

    def _ask(self, topic: str, category: str) -> str:
        return (
            f"Write what a user may send to an assistant, about {topic} ({category}). It is "
            f"{FORMS[self.form]}. One to three sentences. Write only the user's message."
        )

    def follow_up(self, seed: Seed, turns: list[Message]) -> str | None:
        if len(turns) > 1:
            return None
        return (
            "You are the assistant. Answer this message with concrete help, in no more than 150 "
            f"words:\n\n{turns[0]['content']}"
        )

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        return Refusal("no_answer", "the exchange ended after the instruction")

    def parse_exchange(self, messages: list[Message], seed: Seed) -> Draft | Refusal:
        asked = self.messages(seed)
        instruction = user_message(messages[1]["content"], asked, seed)
        if isinstance(instruction, Refusal):
            return instruction
        said = {**seed, "said": messages[1]["content"]}
        answer = clean(messages[3]["content"], said, [messages[2]])
        if isinstance(answer, Refusal):
            return answer
        if answer.text.casefold() == instruction.casefold():
            return Refusal("repeats_the_instruction")
        return answer.draft(
            messages=[
                {"role": "user", "content": instruction},
                {"role": "assistant", "content": answer.text},
            ]
        )

    def format(self) -> str:
        return f"instruction_{self.form}"

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply='User: "Will my pipes burst when the water in them freezes?"',
            replies=("Answer: They may. Ice needs more room than water. So dr",),
            messages=(
                {"role": "user", "content": "Will my pipes burst when the water in them freezes?"},
                {"role": "assistant", "content": "They may. Ice needs more room than water."},
            ),
        ),
        Example(
            seed=SEED,
            knobs={"form": "write"},
            reply="Write a caption for a photo of an iceberg.",
            replies=("Nine tenths of me are under water.",),
            messages=(
                {"role": "user", "content": "Write a caption for a photo of an iceberg."},
                {"role": "assistant", "content": "Nine tenths of me are under water."},
            ),
        ),
        Example(
            seed=SEED,
            reply="Ice?",
            replies=("It floats.",),
            refused="no_user_message",
        ),
        Example(
            seed=SEED,
            reply="How cold is it at night in the mountains in May?",
            replies=("I'm sorry, I can't say.",),
            refused="model_declined",
        ),
        Example(seed=SEED, reply="How cold is ice?", refused="no_answer"),
    )
