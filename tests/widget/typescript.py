"""Reads the types of js/src/model.ts, as far as that file uses the language.

The contract test holds values that Python made against these types; without a TypeScript compiler
at hand when Python is tested, a reader of some eighty lines does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Type = tuple[Any, ...]
_TOKEN = re.compile(r'\s*("[^"]*"|[A-Za-z_][\w.]*|\d+|\[\]|=>|[{}()\[\]<>|&:;,?])')


@dataclass
class Field:
    type: Type
    is_optional: bool


class _Reader:
    def __init__(self, text: str) -> None:
        self.tokens = _TOKEN.findall(text)
        self.at = 0

    def peek(self, ahead: int = 0) -> str:
        at = self.at + ahead
        return self.tokens[at] if at < len(self.tokens) else ""

    def take(self, expected: str | None = None) -> str:
        token = self.peek()
        if expected is not None and token != expected:
            near = " ".join(self.tokens[max(0, self.at - 8) : self.at + 4])
            raise SyntaxError(f"expected {expected!r}, found {token!r} near: {near}")
        self.at += 1
        return token

    def type(self) -> Type:
        if self.peek() == "|":
            self.take()
        options = [self.both()]
        while self.peek() == "|":
            self.take()
            options.append(self.both())
        return options[0] if len(options) == 1 else ("union", options)

    def both(self) -> Type:
        parts = [self.postfix()]
        while self.peek() == "&":
            self.take()
            parts.append(self.postfix())
        return parts[0] if len(parts) == 1 else ("both", parts)

    def postfix(self) -> Type:
        if self.peek() == "readonly":
            self.take()
        found = self.primary()
        while self.peek() == "[]":
            self.take()
            found = ("array", found)
        return found

    def primary(self) -> Type:
        token = self.take()
        if token == "(":
            inner = self.type()
            self.take(")")
            return inner
        if token == "{":
            return ("object", self.fields())
        if token == "[":
            items = []
            while self.peek() != "]":
                if self.peek(1) == ":":
                    self.take()
                    self.take(":")
                items.append(self.type())
                if self.peek() == ",":
                    self.take()
            self.take("]")
            return ("tuple", items)
        if token.startswith('"'):
            return ("literal", token[1:-1])
        return ("name", token)

    def fields(self) -> dict[str, Field]:
        found: dict[str, Field] = {}
        while self.peek() != "}":
            if self.peek() == "readonly":
                self.take()
            name = self.take()
            is_optional = self.peek() == "?"
            if is_optional:
                self.take()
            self.take(":")
            found[name] = Field(self.type(), is_optional)
            while self.peek() in (";", ","):
                self.take()
        self.take("}")
        return found


class Types:
    """The exported types of a module, by name, and its constant lists of texts."""

    def __init__(self, source: str) -> None:
        text = re.sub(r"/\*.*?\*/", "", source, flags=re.S)
        text = re.sub(r"(?m)//.*$", "", text)
        self.lists = {
            name: re.findall(r'"([^"]*)"', body)
            for name, body in re.findall(
                r"export const (\w+) = \[(.*?)\] as const", text, flags=re.S
            )
        }
        self.types: dict[str, Type] = {}
        for match in re.finditer(r"export (?:interface (\w+) \{|type (\w+) =)", text):
            name = match[1] or match[2]
            reader = _Reader(text[match.end() :])
            if name == "Model":
                continue  # methods of anywidget, not values on the wire
            if name == "LayerName":
                self.types[name] = ("union", [("literal", one) for one in self.lists["LAYERS"]])
                continue
            self.types[name] = ("object", reader.fields()) if match[1] else reader.type()

    def options(self, name: str) -> list[Type]:
        """The members of a union."""
        found = self.types[name]
        return list(found[1]) if found[0] == "union" else [found]

    def by(self, name: str, key: str) -> dict[str, dict[str, Field]]:
        """The object types of a union by the literal that tells them apart."""
        told: dict[str, dict[str, Field]] = {}
        for option in self.options(name):
            fields = self.resolve(option)[1]
            told[fields[key].type[1]] = fields
        return told

    def resolve(self, kind: Type) -> Type:
        while kind[0] == "name" and kind[1] in self.types:
            kind = self.types[kind[1]]
        return kind

    def problems(self, value: Any, kind: Type, where: str = "value") -> list[str]:
        """What of a value made by Python does not fit a type; empty when all does."""
        kind = self.resolve(kind)
        what = kind[0]
        if what == "union":
            tried = [self.problems(value, option, where) for option in kind[1]]
            if any(not found for found in tried):
                return []
            objects = [found for found in tried if not found[0].startswith(f"{where}:")]
            return min(objects, key=len) if objects else [f"{where}: {value!r:.60} is none of them"]
        if what == "array":
            if not isinstance(value, list):
                return [f"{where}: {value!r:.60} is no list"]
            return [
                problem
                for i, one in enumerate(value)
                for problem in self.problems(one, kind[1], f"{where}[{i}]")
            ]
        if what == "tuple":
            if not isinstance(value, list) or len(value) != len(kind[1]):
                return [f"{where}: {value!r:.60} is no list of {len(kind[1])}"]
            return [
                problem
                for i, (one, inner) in enumerate(zip(value, kind[1], strict=True))
                for problem in self.problems(one, inner, f"{where}[{i}]")
            ]
        if what == "object":
            return self._object_problems(value, kind[1], where)
        if what == "literal":
            return [] if value == kind[1] else [f"{where}: {value!r:.60} is not {kind[1]!r}"]
        return [] if _is_a(value, kind[1]) else [f"{where}: {value!r:.60} is no {kind[1]}"]

    def _object_problems(self, value: Any, fields: Mapping[str, Field], where: str) -> list[str]:
        if not isinstance(value, dict):
            return [f"{where}: {value!r:.60} is no object"]
        found = [f"{where}.{key} is not in model.ts" for key in value.keys() - fields.keys()]
        for name, one in fields.items():
            if name in value:
                found += self.problems(value[name], one.type, f"{where}.{name}")
            elif not one.is_optional:
                found.append(f"{where}.{name} is missing")
        return found


def _is_a(value: Any, name: str) -> bool:
    if name == "number":
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and math.isfinite(value)
    if name == "string":
        return isinstance(value, str)
    if name in ("boolean", "true", "false"):
        return isinstance(value, bool)
    if name in ("null", "undefined"):
        return value is None
    if name == "DataView":
        return isinstance(value, bytes | memoryview)
    raise LookupError(f"model.ts uses the type {name!r}, which this reader does not know")
