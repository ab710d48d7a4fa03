"""Readers, each with instructions that differ in substance: another word for the reader alone
gives the same text twice."""

from typing import Literal

Audience = Literal[
    "young_children", "middle_school", "high_school", "college", "professionals", "general"
]

AUDIENCES: dict[str, str] = {
    "young_children": "Write for children of seven. Use short sentences and everyday words, "
    "compare each new thing with something found at home, and ask the reader one question.",
    "middle_school": "Write for middle-school pupils. Define each new term in the sentence that "
    "first uses it, work through one example with real numbers or names, and name a common "
    "mistake and why it is wrong.",
    "high_school": "Write for high-school students. Explain the mechanism behind each fact, give "
    "the formula or rule where there is one, and connect it to one neighbouring subject.",
    "college": "Write for first-year college students. State definitions precisely, give the "
    "reasoning or derivation step by step, and discuss a limit or an exception.",
    "professionals": "Write for practitioners. Skip the basics, compare two methods by cost and "
    "risk, and give a worked case with realistic figures.",
    "general": "Write for curious adults without training. Use one concrete situation from daily "
    "life, explain what happens in it and why it matters, and avoid jargon.",
}

STYLES: dict[str, str] = {
    "academic": "Keep a clear, factual tone, moving from definition to explanation to example.",
    "narrative": "Let the explanation follow one person or place through a real situation.",
}
"""How a textbook tells what it tells."""
