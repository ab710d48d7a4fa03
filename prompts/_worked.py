"""Problems with a worked solution: what has to stand in a reply."""

import re

from prompts import Refusal

_NUMBER = re.compile(
    r"(?:final answer|answer|####)\W*(?:(?:is|are|equals)\W*)?(?:[a-z ]{0,40})?(-?[\d][\d.,/]*)",
    re.IGNORECASE,
)
_ANSWER = re.compile(r"^\W*(?:final )?answer\b\W*\w", re.IGNORECASE | re.MULTILINE)
_AFTER = re.compile(
    r"\n\s*\W*(?:problem|puzzle|question|reason(?:ing)?|solution)\b(?:\s*\d+)?\W*:", re.IGNORECASE
)


def check_worked(text: str, *, number: bool) -> Refusal | None:
    """Refuse a text without a question or without a final answer, a number where `number`."""
    if "?" not in text:
        return Refusal("no_question")
    if not (_NUMBER if number else _ANSWER).search(text):
        what = "with a number" if number else "in a line that begins with Answer"
        return Refusal("no_answer", f"no final answer {what}")
    return None


def cut_second(text: str) -> tuple[str, str]:
    """Without a second problem behind the first one's answer, and that problem."""
    answer = _ANSWER.search(text)
    again = _AFTER.search(text, answer.end()) if answer else None
    return (text[: again.start()].rstrip(), text[again.start() :].strip()) if again else (text, "")
