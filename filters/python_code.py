"""Python code in a sample's text, and what the prompt promised of it. Nothing is run here."""

import ast
import itertools
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

FILE = "generated sample"
"""The file name under which samples are parsed: warnings about them are told apart by it."""

_FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.M | re.DOTALL)
_PYTHON = ("python", "py", "python3", "pycon")
_PROMISE = re.compile(r"(?:^|`)((?:async[ ]+)?def[ ]+\w+[ ]*\(|class[ ]+\w+[ ]*[(:])", re.M)
_Function = ast.FunctionDef | ast.AsyncFunctionDef


class Source(NamedTuple):
    """`blocks` of code, `asserts` that stand between them, `examples`: blocks and text with >>>."""

    blocks: list[str]
    asserts: list[str]
    examples: list[str]


def quiet_syntax_warnings() -> None:
    """ "\\d" in a sample is no matter of ours; filtered by file name, so that threads may parse at
    the same time, as a context that restores filters may not."""
    warnings.filterwarnings("ignore", module=FILE)


def parse(code: str) -> ast.Module | str:
    """The tree, or why there is none."""
    try:
        return ast.parse(code, FILE)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return str(error) or type(error).__name__


def find_source(text: str) -> Source:
    """The fenced blocks in Python, those without a language where none says so; the whole text
    where nothing is fenced."""
    fenced = _FENCE.findall(text)
    if not fenced:
        code = text.strip("\n")
        return Source([code] if code.strip() else [], [], [])
    named = [body for language, body in fenced if language.lower() in _PYTHON]
    found = named or [body for language, body in fenced if not language]
    prose = _FENCE.sub("\n", text)
    asserts = [line.strip(" \t`") for line in prose.splitlines()]
    return Source(
        [body.strip("\n") for body in found if not body.lstrip().startswith(">>>")],
        [line for line in asserts if line.startswith("assert ") and _parses(line)],
        [body for body in [*found, prose] if re.search(r"^\s*>>>", body, re.M)],
    )


def _parses(line: str) -> bool:
    return not isinstance(parse(line), str)


def imports(tree: ast.AST) -> Iterator[str]:
    """The modules that a tree imports, dotted; "from urllib import request" gives both."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(tree: ast.AST) -> Iterator[str]:
    """Names that a tree reads, such as builtins; attributes are none."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id


def promised(prompt: str) -> list[ast.stmt]:
    """The functions and classes whose heads stand in the prompt, at the begin of a line or in
    backquotes."""
    found = []
    for match in _PROMISE.finditer(prompt):
        head = prompt[match.start(1) : match.start(1) + 2000]
        for end in itertools.islice(re.finditer(r":(?=\s|$|`)|\)", head), 40):
            tree = parse(head[: end.end()].rstrip(":") + ": ...")
            if not isinstance(tree, str):
                found += tree.body
                break
    return found


def broken_promise(wanted: ast.stmt, trees: Sequence[ast.Module]) -> tuple[str, str] | None:
    """Reason and detail where no tree defines what is wanted, with its parameters."""
    name = getattr(wanted, "name", "")
    nodes = [node for tree in trees for node in ast.walk(tree)]
    if isinstance(wanted, ast.ClassDef):
        defined = any(isinstance(node, ast.ClassDef) and node.name == name for node in nodes)
        return None if defined else ("not_defined", f"class {name}")
    functions = [node for node in nodes if isinstance(node, _Function) and node.name == name]
    if not functions:
        bound = [node.id for node in nodes if isinstance(node, ast.Name) and _stores(node)]
        return None if name in bound else ("not_defined", f"def {name}")
    if isinstance(wanted, _Function) and not any(_takes(node, wanted) for node in functions):
        shown = f"{name}({ast.unparse(functions[0].args)})"
        return "other_parameters", f"{shown}, not {name}({ast.unparse(wanted.args)})"
    return None


def _stores(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def _takes(function: _Function, wanted: _Function) -> bool:
    """Whether a function has the wanted parameters, in their order; more need a default."""
    have, want = function.args, wanted.args
    names = [argument.arg for argument in (*have.posonlyargs, *have.args)]
    asked = [argument.arg for argument in (*want.posonlyargs, *want.args)]
    if names[: len(asked)] != asked or len(names) - len(asked) > len(have.defaults):
        return False
    keywords = {argument.arg for argument in have.kwonlyargs}
    if not {argument.arg for argument in want.kwonlyargs} <= keywords:
        return False
    return bool(have.vararg) >= bool(want.vararg) and bool(have.kwarg) >= bool(want.kwarg)
