"""A user's instruction about a topic, and the answer."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, assistant, user
from prompts._text import in_sentence
from prompts._turns import clean_answers, written_turns

FORMS = {
    "question": "asks about one fact that somebody needs for a purpose of their own, and names "
    "the purpose",
    "explain": "asks to explain one thing to a certain person, who is described",
    "write": "asks for a short text (a letter, a notice, a poem, a caption), with its reader and "
    "its length",
    "list": "asks for a list of a given number of ideas, with two conditions they must meet",
    "compare": "asks to compare two things and to recommend one for a case that is described",
    "advise": "tells a situation in two sentences and asks for advice",
}
SHOWN = {
    "question": """User: I am packing for a week in the Alps in May. How cold are the nights?
Assistant: At 2,000 metres expect between minus 5 and plus 3 degrees, and less when the sky is \
clear. A warm jacket and a hat are enough if you sleep in huts.""",
    "explain": """User: Explain to my grandfather, who repaired radios, how a phone knows its place.
Assistant: It listens to four or more satellites that all send the time. The farther one is away, \
the later its time arrives, and from these delays the phone works out where it stands.""",
    "write": """User: Write a notice of 30 words for our staircase: no water on Tuesday morning.
Assistant: Dear neighbours, on Tuesday from eight to noon the water will be off, as a valve in the \
cellar is replaced. Please fill a bucket the evening before. Thank you!""",
    "list": """User: Give me three games for ten children in a small room. No balls, only paper.
Assistant: 1. Paper towers: the highest one that stands wins.
2. Folded drawings: each child adds a part without seeing the rest.
3. Who am I: names on paper strips, only yes or no.""",
    "compare": """User: Wool or down for a sleeping bag? I paddle, so it will get wet.
Assistant: Take wool or a synthetic filling: both still warm you when they are wet. Down is \
lighter, but it clumps and takes days to dry.""",
    "advise": """User: I promised to play at a wedding in nine days, and my wrist hurts. What now?
Assistant: Rest it for three days and see a doctor if it is no better by then. Tell the couple \
today and ask a friend to learn the two hardest pieces, so that nobody is surprised.""",
}
SEED = {"topic": "Why ice floats", "category": "Physics", "focus": ["density"]}


class Instruction(TaskKind):
    """A user's instruction about a topic, and the answer, in one of six forms."""

    NEEDS: ClassVar[Mapping[str, type]] = {"topic": str, "category": str}

    form: Literal["question", "explain", "write", "list", "compare", "advise"] = "question"
    """What the user asks for."""

    def messages(self, seed: Seed) -> list[Message]:
        shown = self._ask("everyday life", "things people ask")
        asked = self._ask(in_sentence(str(seed["topic"])), str(seed["category"]))
        return user(shown) + assistant(SHOWN[self.form]) + user(asked)

    def _ask(self, topic: str, category: str) -> str:
        return (
            f"Write a message of a user's to an assistant and the answer. Subject: {topic} "
            f"({category}). The user {FORMS[self.form]}. The answer is concrete and has no more "
            "than 100 words. Begin them with User: and Assistant:"
        )

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        turns = written_turns(reply, seed, self.messages(seed), 1)
        return turns if isinstance(turns, Refusal) else clean_answers(turns)

    def format(self) -> str:
        return f"instruction_{self.form}"

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply='User: "Will my pipes burst in winter?"\nAssistant: They may. Ice grows. So d',
            messages=(
                {"role": "user", "content": "Will my pipes burst in winter?"},
                {"role": "assistant", "content": "They may. Ice grows."},
            ),
        ),
        Example(
            seed=SEED,
            knobs={"form": "write"},
            reply="**User:** Write a caption for an iceberg.\n\n**Assistant:** Nine tenths of me "
            "are under water.\n\nUser: Thanks a lot!",
            messages=(
                {"role": "user", "content": "Write a caption for an iceberg."},
                {"role": "assistant", "content": "Nine tenths of me are under water."},
            ),
        ),
        Example(seed=SEED, reply="User: Ice?\nAssistant: It floats.", refused="no_user_message"),
        Example(seed=SEED, reply="Ice floats because it is light.", refused="no_turns"),
        Example(
            seed=SEED,
            reply="User: Will ice float in oil?\nAssistant: will ice float in oil?",
            refused="repeats_the_user",
        ),
    )
