"""Mutants of a Solidity source, made from the compiler's own syntax tree.

The operators are those whose mutants a test of the contract's behaviour can tell apart. Left out on purpose: the
arguments of errors (callers act on the selector), the step of a loop (mutants that never end), and whatever another
mutant of the same place implies: where `a || b` is cut to `a` and to `b`, the condition is not also made false.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

BOUNDARIES = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
ARITHMETIC = {"+": "-", "-": "+", "*": "/", "/": "*", "%": "/", "<<": ">>", ">>": "<<", "&": "|", "|": "&", "^": "&"}
ASSIGNMENTS = {"+=": "-=", "-=": "+=", "*=": "/=", "/=": "*=", "|=": "&=", "&=": "|=", "<<=": ">>=", ">>=": "<<="}
# Of these the right operand may go as a whole: what an offset, a scale or a remainder is there for.
REMOVABLE = {"+", "-", "*", "/", "%", ">>", "<<"}
CHOOSERS = {"min", "max", "saturatingSub"}
SKIPPED = {
    "ArrayTypeName", "ErrorDefinition", "EventDefinition", "ImportDirective", "InheritanceSpecifier",
    "OverrideSpecifier", "PragmaDirective", "RevertStatement", "StructDefinition", "StructuredDocumentation",
}  # fmt: skip
STEPS = {("ForStatement", "loopExpression"), ("YulForLoop", "post")}
STATEMENTS = {
    "EmitStatement", "ExpressionStatement", "ForStatement", "FunctionDefinition", "IfStatement", "Return",
    "TryStatement", "VariableDeclaration", "VariableDeclarationStatement", "WhileStatement", "YulAssignment",
    "YulExpressionStatement",
}  # fmt: skip


class Node:
    """A node of solc's compact JSON tree."""

    def __init__(self, raw: dict[str, object]) -> None:
        self.raw = raw
        self.kind = str(raw.get("nodeType"))
        start, length, _ = (int(part) for part in str(raw.get("src", "0:0:0")).split(":"))
        self.start, self.end = start, start + length

    def one(self, field: str) -> Node | None:
        """The child of that name, if there is one."""
        raw = self.raw.get(field)
        return Node(raw) if isinstance(raw, dict) else None

    def all(self, field: str) -> list[Node]:
        """The children of that name."""
        raw = self.raw.get(field)
        return [Node(item) for item in raw if isinstance(item, dict)] if isinstance(raw, list) else []

    def text(self, field: str) -> str:
        """A plain field as text."""
        return str(self.raw.get(field, ""))

    def type(self) -> str:
        """The compiler's identifier of an expression's type."""
        raw = self.raw.get("typeDescriptions")
        return str(raw.get("typeIdentifier")) if isinstance(raw, dict) else ""

    def children(self) -> Iterator[tuple[str, Node]]:
        """Every child with its field's name, in the order of the source."""
        found: list[tuple[str, Node]] = []
        for field, value in self.raw.items():
            items = value if isinstance(value, list) else [value]
            found.extend((field, Node(item)) for item in items if isinstance(item, dict) and "nodeType" in item)
        return iter(sorted(found, key=lambda pair: pair[1].start))


@dataclass(frozen=True)
class Edit:
    """One replacement of bytes."""

    operator: str
    start: int
    end: int
    text: bytes


@dataclass(frozen=True)
class Mutant:
    """A source with one edit, and a name that outlives edits elsewhere in the file."""

    unit: str
    function: str
    operator: str
    line: int
    before: str
    after: str
    content: str
    id: str

    def describe(self) -> str:
        """One line for people."""
        return f"{self.id} {self.unit}:{self.line} {self.function} [{self.operator}] `{self.before}` -> `{self.after}`"


@dataclass(frozen=True)
class _Place:
    function: str
    statement: Node
    parent: Node
    field: str


def mutate(unit: str, source: str, tree: dict[str, object]) -> list[Mutant]:
    """All mutants of one source, in the order of the source."""
    data = source.encode()
    root = Node(tree)
    seen: set[bytes] = set()
    names: Counter[str] = Counter()
    mutants: list[Mutant] = []
    for place, edit in _walk(root, _Place("", root, root, ""), data):
        content = data[: edit.start] + edit.text + data[edit.end :]
        if content in seen or content == data:
            continue
        seen.add(content)
        lo, hi = min(place.statement.start, edit.start), max(_head(place.statement), edit.end)
        before, after = _plain(data[lo:hi]), _plain(data[lo : edit.start] + edit.text + data[edit.end : hi])
        name = f"{unit}|{place.function}|{edit.operator}|{before}|{after}"
        names[name] += 1
        identity = hashlib.sha256(f"{name}|{names[name]}".encode()).hexdigest()[:12]
        line = data.count(b"\n", 0, edit.start) + 1
        mutants.append(Mutant(unit, place.function, edit.operator, line, before, after, content.decode(), identity))
    return mutants


def _plain(text: bytes) -> str:
    return re.sub(r"\s+", " ", text.decode()).strip()


def _head(statement: Node) -> int:
    """Where the part of a statement that names it ends: a condition or a header, without what follows."""
    inner = statement.one("condition") or statement.one("externalCall")
    body = statement.one("body") if statement.kind == "FunctionDefinition" else None
    return body.start if body else inner.end if inner else statement.end


def _walk(node: Node, place: _Place, data: bytes) -> Iterator[tuple[_Place, Edit]]:
    if node.kind in SKIPPED or (place.parent.kind, place.field) in STEPS:
        return
    if node.kind == "ContractDefinition" and node.text("contractKind") == "interface":
        return
    function = place.function
    if node.kind in ("ContractDefinition", "FunctionDefinition", "ModifierDefinition"):
        function = f"{function}.{node.text('name') or node.text('kind')}".removeprefix(".")
    statement = node if node.kind in STATEMENTS else place.statement
    here = _Place(function, statement, place.parent, place.field)
    make = _MAKERS.get(node.kind)
    if make is not None:
        for edit in make(node, here, data):
            yield here, edit
    for field, child in node.children():
        yield from _walk(child, _Place(function, statement, node, field), data)


# ------------------------------------------------------------------------------------------------- conditions


def _decisions(operator: str, expression: Node) -> Iterator[Edit]:
    """Both constants in place of a boolean, but for the one that the cut clauses of `||` and `&&` imply."""
    if expression.kind == "Literal":
        return
    implied = {"||": b"false", "&&": b"true"}.get(expression.text("operator"))
    for constant in (b"true", b"false"):
        if constant != implied:
            yield Edit(operator, expression.start, expression.end, constant)


def _if(node: Node, _: _Place, __: bytes) -> Iterator[Edit]:
    condition, body = node.one("condition"), node.one("trueBody")
    if condition is None or body is None:
        return
    statements = body.all("statements") if body.kind == "Block" else [body]
    guard = len(statements) == 1 and statements[0].kind == "RevertStatement"
    for edit in _decisions("guard" if guard else "condition", condition):
        if not guard or edit.text == b"false":
            yield edit


def _conditional(node: Node, _: _Place, data: bytes) -> Iterator[Edit]:
    for field in ("trueExpression", "falseExpression"):
        branch = node.one(field)
        if branch:
            yield Edit("branch", node.start, node.end, data[branch.start : branch.end])


def _verdict(expression: Node | None) -> Iterator[Edit]:
    if expression is not None and expression.type() == "t_bool":
        yield from _decisions("verdict", expression)


# ------------------------------------------------------------------------------------------------- expressions


def _binary(node: Node, place: _Place, data: bytes) -> Iterator[Edit]:
    left, right = node.one("leftExpression"), node.one("rightExpression")
    if left is None or right is None:
        return
    operator = node.text("operator")
    first, second = data[left.start : left.end], data[right.start : right.end]
    between = data[left.end : right.start]

    def edit(name: str, text: bytes) -> Edit:
        return Edit(name, node.start, node.end, text)

    def swapped(name: str, new: str) -> Edit:
        return edit(name, first + between.replace(operator.encode(), new.encode(), 1) + second)

    if operator in ("&&", "||"):
        yield edit("clause", first)
        yield edit("clause", second)
    elif operator in BOUNDARIES:
        yield swapped("boundary", BOUNDARIES[operator])
    elif operator in ("==", "!=") and not _decided(place):
        yield swapped("equality", "!=" if operator == "==" else "==")
    elif operator in ARITHMETIC:
        yield swapped("arithmetic", ARITHMETIC[operator])
        if operator in REMOVABLE:
            yield edit("operand", first)


def _decided(place: _Place) -> bool:
    """Whether the place's own mutants imply the turned-round comparison."""
    parent = place.parent
    return parent.kind in ("Conditional", "IfStatement", "Return") or parent.text("operator") in ("&&", "||", "!", "=")


def _unary(node: Node, place: _Place, data: bytes) -> Iterator[Edit]:
    operand, operator = node.one("subExpression"), node.text("operator")
    if operand is None:
        return
    inside = data[operand.start : operand.end]
    if operator == "!":
        yield Edit("negation", node.start, node.end, inside)
    elif operator in ("++", "--"):
        other = b"--" if operator == "++" else b"++"
        prefix = bool(node.raw.get("prefix"))
        yield Edit("step", node.start, node.end, other + inside if prefix else inside + other)
        if place.parent.kind != "ExpressionStatement":
            turned = inside + operator.encode() if prefix else operator.encode() + inside
            yield Edit("order", node.start, node.end, turned)


def _assignment(node: Node, _: _Place, data: bytes) -> Iterator[Edit]:
    left, right, operator = node.one("leftHandSide"), node.one("rightHandSide"), node.text("operator")
    if left is None or right is None:
        return
    yield from _verdict(right)
    if operator != "=":
        between = data[left.end : right.start]
        for new in (ASSIGNMENTS.get(operator), "="):
            if new:
                text = between.replace(operator.encode(), new.encode(), 1)
                yield Edit("assignment", left.end, right.start, text)


def _call(node: Node, place: _Place, data: bytes) -> Iterator[Edit]:
    arguments = node.all("arguments")
    callee = node.one("expression")
    name = callee.text("memberName") or callee.text("name") if callee else ""
    if name in CHOOSERS and len(arguments) == 2:
        for argument in arguments if name != "saturatingSub" else arguments[:1]:
            yield Edit("chooser", node.start, node.end, b"(" + data[argument.start : argument.end] + b")")
        if name != "saturatingSub":
            return
    if name == "require" or place.field == "errorCall":
        return
    for i, one in enumerate(arguments):
        other = next((later for later in arguments[i + 1 :] if later.type() == one.type()), None)
        if other is not None and not one.type().startswith("t_rational"):
            first, second = data[one.start : one.end], data[other.start : other.end]
            if first != second:
                yield Edit("swap", one.start, other.end, second + data[one.end : other.start] + first)


def _literal(node: Node, place: _Place, data: bytes) -> Iterator[Edit]:
    text = data[node.start : node.end]
    match node.text("kind"):
        case "bool":
            yield Edit("constant", node.start, node.end, b"false" if text == b"true" else b"true")
        case "number" if re.fullmatch(rb"[0-9_]+", text):
            yield Edit("constant", node.start, node.end, str(int(text.replace(b"_", b"")) + 1).encode())
        case "string" if text.startswith(b'"') and len(text) > 2 and place.statement.kind == "VariableDeclaration":
            yield Edit("constant", node.start, node.start + 2, b'"~')
        case "hexString":
            yield Edit("constant", node.start, node.end, text[:-2] + (b'1"' if text[-2:-1] == b"0" else b'0"'))


# ------------------------------------------------------------------------------------------------- statements


def _statement(node: Node, _: _Place, data: bytes) -> Iterator[Edit]:
    end = node.end
    while data[end : end + 1].isspace():
        end += 1
    end = end + 1 if data[end : end + 1] == b";" else node.end
    yield Edit("removal", node.start, end, b"{}")


def _return(node: Node, place: _Place, data: bytes) -> Iterator[Edit]:
    expression = node.one("expression")
    if expression is None or expression.type() == "t_bool":
        yield from _verdict(expression)
    else:
        yield from _statement(node, place, data)


def _declaration(node: Node, _: _Place, __: bytes) -> Iterator[Edit]:
    yield from _verdict(node.one("initialValue"))


def _modifier(node: Node, _: _Place, __: bytes) -> Iterator[Edit]:
    if node.text("kind") == "modifierInvocation":
        yield Edit("modifier", node.start, node.end, b"")


def _unchecked(node: Node, _: _Place, __: bytes) -> Iterator[Edit]:
    yield Edit("checked", node.start, node.start + len(b"unchecked"), b"")


def _yul_literal(node: Node, _: _Place, __: bytes) -> Iterator[Edit]:
    if node.text("kind") == "number":
        yield Edit("constant", node.start, node.end, hex(int(node.text("value"), 0) + 32).encode())


_MAKERS = {
    "Assignment": _assignment,
    "BinaryOperation": _binary,
    "Conditional": _conditional,
    "EmitStatement": _statement,
    "ExpressionStatement": _statement,
    "FunctionCall": _call,
    "IfStatement": _if,
    "Literal": _literal,
    "ModifierInvocation": _modifier,
    "Return": _return,
    "UnaryOperation": _unary,
    "UncheckedBlock": _unchecked,
    "VariableDeclarationStatement": _declaration,
    "YulAssignment": _statement,
    "YulExpressionStatement": _statement,
    "YulLiteral": _yul_literal,
}
