"""The few Python expressions that a bundle's configuration may hold, computed without Python's ``eval``.

MONAI evaluates every text that begins with ``$`` as Python, so a bundle can run anything. Here an expression is a tree
of which only harmless kinds of nodes are computed: constants, lists, arithmetic, comparisons, conditions, a handful of
functions without side effects, and ``lambda`` of these. There are no attributes of objects and no imports.
"""

from __future__ import annotations

import ast
import operator
import posixpath
from collections.abc import Callable, Mapping
from typing import Any

from MedSegAICore.errors import ModelError

LONGEST = 10_000  # entries or characters that an expression may make
NUMBER = (int, float)
ARITHMETIC = {ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv}
COMPARISONS = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b, ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}  # fmt: skip
UNARY = {ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_}


def _range(*bounds: int) -> list[int]:
    numbers = range(*bounds)
    if len(numbers) > LONGEST:
        raise ValueError(f"a list of {len(numbers)} numbers is too long")
    return list(numbers)


FUNCTIONS: Mapping[str, Callable] = {
    "len": len, "list": list, "tuple": tuple, "range": _range, "sorted": sorted, "sum": sum, "min": min, "max": max,
    "abs": abs, "round": round, "int": int, "float": float, "str": str, "bool": bool, "dict": dict,
    "os.path.join": posixpath.join,
    # Where a network runs is chosen by the user, not by the bundle.
    "torch.device": lambda *_: None, "torch.cuda.is_available": lambda: False,
}  # fmt: skip
NAMES: Mapping[str, Any] = {
    **{f"{package}.{name}": name for package in ("torch", "numpy", "np")
       for name in ("float32", "float64", "float16", "float", "int8", "int16", "int32", "int64", "uint8", "bool")},
    "monai.utils.CommonKeys.IMAGE": "image", "monai.utils.CommonKeys.PRED": "pred",
    "monai.utils.CommonKeys.LABEL": "label",
}  # fmt: skip


class Unsupported(Exception):
    """An expression holds something that is not computed here; the text names it."""


def evaluate(text: str, names: Mapping[str, Any]) -> Any:
    """The value of an expression (without ``$``) in which ``names`` stand for values.

    Raises ModelError that quotes the expression if it is none, or holds what is not computed here.
    """
    try:
        return _value(ast.parse(text.strip(), mode="eval").body, names)
    except Unsupported as error:
        reason = str(error)
    except (SyntaxError, RecursionError, MemoryError) as error:
        reason = f"it is not an expression ({type(error).__name__})"
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        reason = str(error)
    raise ModelError(
        f"The bundle computes {_shown(text, names)!r} with Python, which is not run here because it could do anything: "
        f"{reason}. Put its value into the configuration instead."
    )


def parse(text: str) -> ast.expr | None:
    """The tree of an expression, or None if it is none."""
    try:
        return ast.parse(text.strip().removeprefix("$").strip(), mode="eval").body
    except (SyntaxError, RecursionError, MemoryError):
        return None


def _shown(text: str, names: Mapping[str, Any]) -> str:
    for name in names:
        text = text.replace(name, "@…")
    return text[:200]


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    handler = HANDLERS.get(type(node))
    if handler is None:
        raise Unsupported(f"{type(node).__name__} is not computed")
    value = handler(node, names)
    if isinstance(value, str | list | tuple | dict) and len(value) > LONGEST:
        raise Unsupported("its value is too long")
    return value


def _name(node: ast.expr, names: Mapping[str, Any]) -> Any:
    dotted = _dotted(node)
    if dotted in names:
        return names[dotted]
    if dotted in NAMES:
        return NAMES[dotted]
    raise Unsupported(f"{dotted} is not known")


def _call(node: ast.Call, names: Mapping[str, Any]) -> Any:
    dotted = _dotted(node.func)
    if dotted not in FUNCTIONS:
        raise Unsupported(f"{dotted} is not called")
    if node.keywords:
        raise Unsupported(f"{dotted} is not called with named arguments")
    return FUNCTIONS[dotted](*(_value(argument, names) for argument in node.args))


def _dotted(node: ast.expr) -> str:
    """``a.b.c`` as text; an attribute of anything else than a name is refused."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise Unsupported(f"{'.'.join(reversed(parts)) or type(node).__name__} of a value is not looked up")
    return ".".join([node.id, *reversed(parts)])


def _binary(node: ast.BinOp, names: Mapping[str, Any]) -> Any:
    left, right = _value(node.left, names), _value(node.right, names)
    if isinstance(node.op, ast.Add):
        return left + right
    if isinstance(left, NUMBER) and isinstance(right, NUMBER) and type(node.op) in ARITHMETIC:
        return ARITHMETIC[type(node.op)](left, right)
    raise Unsupported(f"{type(node.op).__name__} is not computed")  # powers and copies of texts can fill the memory


def _comparison(node: ast.Compare, names: Mapping[str, Any]) -> Any:
    left = _value(node.left, names)
    for operation, part in zip(node.ops, node.comparators, strict=True):
        right = _value(part, names)
        result = COMPARISONS[type(operation)](left, right)
        if len(node.ops) == 1:
            return result  # of a tensor in a lambda it is not a single bool
        if not result:
            return False
        left = right
    return True


def _lambda(node: ast.Lambda, names: Mapping[str, Any]) -> Callable:
    parameters = [argument.arg for argument in node.args.args]
    extra = node.args.vararg or node.args.kwarg or node.args.kwonlyargs or node.args.defaults
    if len(parameters) != 1 or extra:
        raise Unsupported("a lambda with other than one parameter is not computed")
    return lambda value: _value(node.body, {**names, parameters[0]: value})


def _condition(node: ast.IfExp, names: Mapping[str, Any]) -> Any:
    return _value(node.body if _value(node.test, names) else node.orelse, names)


def _boolean(node: ast.BoolOp, names: Mapping[str, Any]) -> Any:
    stops_at = isinstance(node.op, ast.Or)
    for part in node.values:
        value = _value(part, names)
        if bool(value) == stops_at:
            break
    return value


def _dict(node: ast.Dict, names: Mapping[str, Any]) -> dict:
    if None in node.keys:
        raise Unsupported("** is not computed")
    return {_value(k, names): _value(v, names) for k, v in zip(node.keys, node.values, strict=True)}


HANDLERS: Mapping[type, Callable] = {
    ast.Constant: lambda node, names: node.value,
    ast.Name: _name,
    ast.Attribute: _name,
    ast.List: lambda node, names: [_value(part, names) for part in node.elts],
    ast.Tuple: lambda node, names: tuple(_value(part, names) for part in node.elts),
    ast.Dict: _dict,
    ast.Subscript: lambda node, names: _value(node.value, names)[_value(node.slice, names)],
    ast.BinOp: _binary,
    ast.UnaryOp: lambda node, names: UNARY[type(node.op)](_value(node.operand, names)),
    ast.BoolOp: _boolean,
    ast.Compare: _comparison,
    ast.IfExp: _condition,
    ast.Call: _call,
    ast.Lambda: _lambda,
}
