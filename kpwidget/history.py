"""What was done to a dataset, and how it is undone: steps, transactions, events.

The module knows nothing of keypoints. It is given one function that puts a value in place;
edits, undo, redo and the rollback of a failed transaction all go through that function.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Any, Final, Literal, TypeVar, cast

from kpwidget.words import count

__all__ = ["ANY", "Change", "History", "PrimitiveChange", "Step", "Transaction", "UndoError"]


MAX_STEPS: Final = 4000
"""Steps that can be undone: the memory of a long session has a limit."""


class AnyOrigin(Enum):
    """The type of `ANY`, which stands for every origin (None is an origin of its own)."""

    ANY = "any"

    def __repr__(self) -> str:
        """Return the name."""
        return "ANY"


ANY: Final = AnyOrigin.ANY


class UndoError(RuntimeError):
    """An undo or redo that would overwrite what another step has changed since."""


@dataclass(frozen=True, slots=True)
class PrimitiveChange:
    """One value that was replaced by another.

    Attributes
    ----------
    what : {'instance', 'keypoint', 'bbox', 'finished', 'status', 'category', 'schema', 'pass',
        'decision'}
        Which value. ``'instance'`` is the existence of an instance: `before` is None when it was
        added, `after` is None when it was removed. ``'category'`` is a category, named anew;
        ``'schema'`` is what its keypoints mean, for all its instances at once.
    uid : str or None
        The instance; None when the value belongs to the image or is a category.
    image : int
        Index of the image; below 0 for a category, the first being -1, and -1 for a decision about
        the whole dataset.
    before, after : object
        The values. A keypoint is ``None`` (unlabeled) or ``(x, y, visibility)`` in image pixels;
        ``(x, y, 0)`` is an unlabeled point to which a file gave a location. A bbox is
        ``(x, y, width, height)``, or None when it is derived from the keypoints.
    keypoint : int, str or None
        0-based index of the keypoint for ``'keypoint'``, the name of the pass for ``'pass'``, the
        key of the decision for ``'decision'``, else None.
    """

    what: Literal[
        "instance",
        "keypoint",
        "bbox",
        "finished",
        "status",
        "category",
        "schema",
        "pass",
        "decision",
    ]
    uid: str | None
    image: int
    before: Any
    after: Any
    keypoint: int | str | None = None

    @property
    def owner(self) -> str | int:
        """The uid of the instance, or `image`: what the value belongs to."""
        return self.image if self.uid is None else self.uid

    @property
    def target(self) -> tuple[str, int | str | None]:
        """Which value of the owner."""
        return (self.what, self.keypoint)


_F = TypeVar("_F")
_Target = tuple[str, int | str | None]
_EXISTENCE: Final[_Target] = ("instance", None)
_SCHEMA: Final[_Target] = ("schema", None)
_Tops = dict[_Target, int]


@dataclass(slots=True)
class _Scope:
    """Who wrote last, before and after a step, the values of one owner the step depends on.

    `targets` None means every value of the owner: adding or removing an instance puts all of
    them in force.
    """

    targets: frozenset[_Target] | None
    before: _Tops
    after: _Tops


@dataclass(eq=False)
class Step:
    """One undo step.

    Attributes
    ----------
    id : int
        Rises with every step of a dataset; rolled back and empty steps leave gaps.
    label : str
        What was done, for people.
    origin : hashable or None
        Who did it (a widget, a client). Undo and redo can be limited to one origin.
    token : object
        Kept as given to `Dataset.transaction`.
    image : int or None
        Index of the image given to the transaction, else of the first image changed.
    context : dict
        For the caller: what to go back to on undo, such as the active instance. May be changed
        while the transaction is open.
    keep_empty : bool
        Whether the step is kept although nothing was changed.
    annotator : str
        The person in whose name it was done.
    time : float
        Seconds since the epoch at the start of the step.
    writer, number : str and int, or None
        The log that the step was read from, and its id there.
    """

    id: int
    label: str
    origin: Hashable = None
    token: Any = None
    image: int | None = None
    context: dict[str, Any] = field(default_factory=dict)
    keep_empty: bool = False
    annotator: str = ""
    time: float = 0.0
    _changes: list[PrimitiveChange] = field(default_factory=list, repr=False)
    _scopes: dict[str | int, _Scope] = field(default_factory=dict, repr=False)
    #: By category the change of its schema (the id of its step) that the step was made under.
    _bases: dict[int, int | None] = field(default_factory=dict, repr=False)
    writer: str | None = None
    number: int | None = None

    @property
    def changes(self) -> tuple[PrimitiveChange, ...]:
        """The primitive changes, in order."""
        return tuple(self._changes)


@dataclass(frozen=True)
class Change:
    """What `Dataset.on_change` callbacks receive.

    Attributes
    ----------
    kind : {'edit', 'undo', 'redo'}
    label : str
        Label of the step.
    origin : hashable or None
        Origin of the step; on undo and redo the origin of the step that is undone or redone.
    images : frozenset of int
        Indices of the images with changes.
    instances : frozenset of str
        uids of the instances added, removed or changed.
    step : Step
    """

    kind: Literal["edit", "undo", "redo"]
    label: str
    origin: Hashable
    images: frozenset[int]
    instances: frozenset[str]
    step: Step


class Transaction:
    """Context manager for one undo step; see `Dataset.transaction`."""

    def __init__(self, history: History, step: Step) -> None:
        self._history = history
        self._step = step
        self._is_outer = True
        self._mark = 0

    def __enter__(self) -> Step:
        """Take the lock and open the step, or join the one that is open."""
        self._is_outer, step = self._history._enter(self._step)
        self._mark = len(step._changes)
        return step

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Keep what was changed, or take it all back when an exception passes through."""
        change = self._history._leave(self._is_outer, self._mark, keep=kind is None)
        if change is not None:
            self._history.notify(change)


class History:
    """The steps of a dataset: those in force, those undone, and who listens.

    Parameters
    ----------
    apply : callable
        ``apply(change, value)`` puts `value` (the change's `before` or `after`) in place. It is
        the only code that changes the dataset.
    describe : callable
        ``describe(change)`` names the changed value, for messages.
    lock : threading.RLock
        Held during a transaction, undo and redo, and not while callbacks run.
    basis : callable
        ``basis(change)`` is the category, below 0, without whose schema a change means nothing;
        None if there is none.

    Notes
    -----
    A change of a schema gives the indices of keypoints another meaning. So a step that has such
    indices is undone and redone under the schema that it was made under only, and a change of a
    schema is not undone while a step in force was made under it.

    For every value the ids of the steps in force that wrote it are kept as a stack. A step can be
    undone if what it wrote is still what the stacks show on top, and redone if the stacks show what
    they showed when it was first done. So the cost of undo depends on the step alone, and a value
    that came back by accident is not mistaken for one that never changed.
    """

    def __init__(
        self,
        apply: Callable[[PrimitiveChange, Any], None],
        describe: Callable[[PrimitiveChange], str],
        lock: threading.RLock,
        basis: Callable[[PrimitiveChange], int | None] = lambda change: None,
    ) -> None:
        self._apply = apply
        self._describe = describe
        self._lock = lock
        self._basis = basis
        self._schema_steps: dict[int, Step] = {}  # all that there ever were, by id
        self._open: Step | None = None
        self._next_id = 1
        self._writers: dict[str | int, dict[_Target, list[int]]] = {}
        # Both are ordered by when the step took (or lost) force; dicts, so that a step in the
        # middle leaves at no cost. The lists per origin give the last step of an origin.
        self._in_force: dict[int, Step] = {}
        self._undone: dict[int, Step] = {}
        self._forgotten: set[int] = set()  # ids of the steps that were let go of
        self._in_force_of: dict[Hashable, list[Step]] = {}
        self._undone_of: dict[Hashable, list[Step]] = {}
        self._watchers: dict[object, Callable[[Change], object]] = {}
        self._callbacks: dict[object, Callable[[Change], object]] = {}
        self._held = threading.local()
        self._error_handlers: dict[object, Callable[[Exception], object]] = {}
        #: Called after the lock is released and before callbacks: makes what was done durable.
        self.settle: Callable[[], object] = lambda: None

    # Transactions

    def transaction(
        self,
        label: str,
        *,
        origin: Hashable,
        token: Any,
        image: int | None,
        context: Mapping[str, Any] | None,
        keep_empty: bool,
        annotator: str,
    ) -> Transaction:
        """Return the context manager of one step."""
        step = Step(
            0, label, origin, token, image, dict(context or {}), keep_empty, annotator, time.time()
        )
        return Transaction(self, step)

    def do(self, change: PrimitiveChange) -> None:
        """Apply a change and add it to the open step."""
        if self._open is None:
            raise RuntimeError("a change needs an open transaction")
        self._apply(change, change.after)
        self._open._changes.append(change)

    def _enter(self, step: Step) -> tuple[bool, Step]:
        self._lock.acquire()
        outer = self._open
        if outer is not None:
            outer.context.update(step.context)
            outer.keep_empty = outer.keep_empty or step.keep_empty
            if outer.image is None:
                outer.image = step.image
            return False, outer
        step.id = self._next_id
        self._next_id += 1
        self._open = step
        return True, step

    def _leave(self, is_outer: bool, mark: int, *, keep: bool) -> Change | None:
        """Close a transaction; return the event to send, if any."""
        try:
            step = self._open
            if step is None:
                raise RuntimeError("the transaction is closed already")
            if not keep:
                self._roll_back(step, mark)
            if not is_outer:
                return None
            self._open = None
            if not keep or not (step._changes or step.keep_empty):
                return None
            change = self._commit(step)
            self._tell_watchers(change)
            return change
        finally:
            self._lock.release()

    def _roll_back(self, step: Step, mark: int) -> None:
        for change in reversed(step._changes[mark:]):
            self._apply(change, change.before)
        del step._changes[mark:]

    def _commit(self, step: Step) -> Change:
        written: dict[str | int, set[_Target]] = {}
        for change in step._changes:
            written.setdefault(change.owner, set()).add(change.target)
            category = self._basis(change)
            if category is not None and category not in step._bases:
                step._bases[category] = self._schema_top(category)
            if change.target == _SCHEMA:
                self._schema_steps[step.id] = step
        for owner, targets in written.items():
            scope = None if _EXISTENCE in targets else frozenset(targets | {_EXISTENCE})
            before = self._tops(owner, scope)
            self._push(owner, targets, step.id)
            step._scopes[owner] = _Scope(scope, before, self._tops(owner, scope))
        if step.image is None:
            step.image = next((c.image for c in step._changes if c.image >= 0), None)
        for undone in self._undone_of.pop(step.origin, ()):
            del self._undone[undone.id]
        self._in_force[step.id] = step
        self._in_force_of.setdefault(step.origin, []).append(step)
        if len(self._in_force) > MAX_STEPS:
            self._forget_oldest()
        return _change("edit", step)

    # Undo and redo

    def undo_top(self, origin: Hashable | AnyOrigin = ANY) -> Step | None:
        """Return the step that `undo` would undo, or None."""
        with self._lock:
            return _last(self._in_force, self._in_force_of, origin)

    def redo_top(self, origin: Hashable | AnyOrigin = ANY) -> Step | None:
        """Return the step that `redo` would redo, or None."""
        with self._lock:
            return _last(self._undone, self._undone_of, origin)

    def undo(self, origin: Hashable | AnyOrigin = ANY) -> Step | None:
        """Undo the last step in force (of an origin); see `Dataset.undo`."""
        with self._lock:
            self.refuse_when_open("undo")
            step = _last(self._in_force, self._in_force_of, origin)
            if step is None:
                return None
            self._refuse_conflicts(step, "undo")
            for change in reversed(step._changes):
                self._apply(change, change.before)
            for change in {(c.owner, c.target): c for c in step._changes}.values():
                self._writers[change.owner][change.target].pop()
            _move(step, self._in_force, self._in_force_of, self._undone, self._undone_of)
            change_made = _change("undo", step)
            self._tell_watchers(change_made)
        self.notify(change_made)
        return step

    def redo(self, origin: Hashable | AnyOrigin = ANY) -> Step | None:
        """Redo the step undone last (of an origin); see `Dataset.redo`."""
        with self._lock:
            self.refuse_when_open("redo")
            step = _last(self._undone, self._undone_of, origin)
            if step is None:
                return None
            self._refuse_conflicts(step, "redo")
            for change in step._changes:
                self._apply(change, change.after)
            for change in {(c.owner, c.target): c for c in step._changes}.values():
                self._push(change.owner, {change.target}, step.id)
            _move(step, self._undone, self._undone_of, self._in_force, self._in_force_of)
            change_made = _change("redo", step)
            self._tell_watchers(change_made)
        self.notify(change_made)
        return step

    def all_steps(self) -> list[Step]:
        """The steps in force and those undone."""
        with self._lock:
            return [*self._in_force.values(), *self._undone.values()]

    def announce(
        self,
        steps: Iterable[tuple[Literal["edit", "undo", "redo"], Step]],
        *,
        but: Callable[[Change], object],
    ) -> None:
        """Tell everybody but one watcher of what was put in place by `replay`."""
        changes = [_change(kind, step) for kind, step in steps]
        with self._lock:
            for change in changes:
                for watcher in tuple(self._watchers.values()):
                    if watcher != but:
                        watcher(change)
        held: list[Change] | None = getattr(self._held, "changes", None)
        if held is not None:
            held.extend(changes)
            return
        for change in changes:
            self._call(change)

    def writer_of(
        self, change: PrimitiveChange, under: int | AnyOrigin | None = ANY
    ) -> Step | None:
        """Return the step in force that gave a value last, None if none did.

        A step of another that came too late has left it as it was: it is not the one.
        With `under`, of those made under the change of a schema with this id, or under none.
        """
        with self._lock:
            stack = self._writers.get(change.owner, {}).get(change.target, ())
            for number in reversed(stack):
                step = self._in_force.get(number)
                if step is not None and not _has_given(step, change):
                    continue
                if under is ANY or (step is not None and under in step._bases.values()):
                    return step
            return None

    def schema_steps(self, category: int) -> list[Step]:
        """The steps in force that changed the schema of a category, the first one first.

        Also those that are too old to be undone.
        """
        with self._lock:
            stack = self._writers.get(category, {}).get(_SCHEMA, ())
            return [self._schema_steps[number] for number in stack]

    def schema_step(self, step_id: int) -> Step:
        """Return the step of this id, one that changed a schema."""
        return self._schema_steps[step_id]

    def _schema_top(self, category: int) -> int | None:
        stack = self._writers.get(category, {}).get(_SCHEMA)
        return stack[-1] if stack else None

    def forget(self, steps: Set[int]) -> None:
        """Know steps no more, by their ids: what they did was there before all others."""
        with self._lock:
            for kept, by_origin in (
                (self._in_force, self._in_force_of), (self._undone, self._undone_of),
            ):  # fmt: skip
                for number in steps & kept.keys():
                    step = kept.pop(number)
                    by_origin[step.origin].remove(step)
            for stacks in self._writers.values():
                for stack in stacks.values():
                    stack[:] = [number for number in stack if number not in steps]
            self._forgotten |= steps

    def hold(self, steps: Set[int]) -> None:
        """Have no schema changed by steps in force, by their ids, until `put_last` is called."""
        with self._lock:
            for stacks in self._writers.values():
                if _SCHEMA in stacks:
                    stacks[_SCHEMA] = [n for n in stacks[_SCHEMA] if n not in steps]

    def put_last(self, steps: Set[int]) -> None:
        """Take steps in force, by their ids, for made after all others, and under their schemas."""
        with self._lock:
            held = ((c.owner, n) for n in sorted(steps) if n in self._schema_steps
                    for c in self._in_force[n]._changes if c.target == _SCHEMA)  # fmt: skip
            for owner, number in held:
                self._push(owner, {_SCHEMA}, number)
            for stacks in self._writers.values():
                for stack in stacks.values():
                    if not steps.isdisjoint(stack):
                        stack.sort(key=lambda number: number in steps)
            for of_origin in self._in_force_of.values():
                of_origin.sort(key=lambda step: step.id in steps)
            for step in [step for number, step in self._in_force.items() if number in steps]:
                self._in_force[step.id] = self._in_force.pop(step.id)
                for category, made_under in step._bases.items():
                    stack = self._writers.get(category, {}).get(_SCHEMA, [])
                    before = [number for number in stack if number not in steps]
                    if made_under is None and before:
                        step._bases[category] = before[-1]
                        for change in step._changes:
                            if change.target == _SCHEMA and change.image == category:
                                last = self._schema_steps[before[-1]].changes[0]
                                change.before.token = last.after.token

    def steps(self) -> list[Step]:
        """The steps in force, in the order in which they came."""
        with self._lock:
            return list(self._in_force.values())

    def replay(self, kind: Literal["edit", "undo", "redo"], step: Step, *, apply: bool) -> None:
        """Do what a log says was done, or, if the values are there already, only remember it.

        Nobody is told. `step` is new for an edit, else one that was given before.

        Raises
        ------
        UndoError
            If another step has changed the values since. Nothing is changed.
        """
        with self._lock:
            self.refuse_when_open(kind)
            if kind == "edit":
                step.id = self._next_id
                self._next_id += 1
                if apply:
                    for i, change in enumerate(step._changes):
                        try:
                            self._apply(change, change.after)
                        except Exception:
                            for made in reversed(step._changes[:i]):
                                self._apply(made, made.before)
                            raise
                self._commit(step)
                return
            is_undo = kind == "undo"
            there, gone = (
                (self._in_force, self._undone) if is_undo else (self._undone, self._in_force)
            )
            if step.id not in there:
                raise UndoError(
                    f"cannot {kind} {step.label!r}: it is not {'in force' if is_undo else 'undone'}"
                )
            self._refuse_conflicts(step, "undo" if is_undo else "redo")
            if apply:
                for change in reversed(step._changes) if is_undo else step._changes:
                    self._apply(change, change.before if is_undo else change.after)
            for change in {(c.owner, c.target): c for c in step._changes}.values():
                if is_undo:
                    self._writers[change.owner][change.target].pop()
                else:
                    self._push(change.owner, {change.target}, step.id)
            of_there, of_gone = self._in_force_of, self._undone_of
            if not is_undo:
                of_there, of_gone = of_gone, of_there
            del there[step.id]
            of_there[step.origin].remove(step)  # with two writers it need not be the last one
            gone[step.id] = step
            of_gone.setdefault(step.origin, []).append(step)

    def refuse_when_open(self, what: str) -> None:
        """Raise UndoError when a transaction is open, in which `what` cannot be done."""
        if self._open is not None:
            raise UndoError(
                f"cannot {what} inside the open transaction {self._open.label!r}: "
                f"{what} after it has ended"
            )

    def _refuse_conflicts(self, step: Step, what: Literal["undo", "redo"]) -> None:
        """Raise UndoError naming every value that `what` would take from another step."""
        conflicts = []
        own = {change.image for change in step._changes if change.target == _SCHEMA}
        for category, made_under in step._bases.items():
            if category not in own and self._schema_top(category) != made_under:
                top = self._schema_top(category)
                conflicts.append(self._conflict(step, category, _SCHEMA, top))
        for category in own if what == "undo" else ():
            later = [s for s in self._in_force.values() if s._bases.get(category) == step.id]
            if later:
                last = later[-1]
                by = _by(last, step)
                conflicts.append(
                    f"{count(len(later), 'later step')} in force "
                    f"{'have' if len(later) > 1 else 'has'} keypoints of the schema it gave, "
                    f"the last one is {last.label!r} (step {last.id}{by})"
                )
        for owner, scope in step._scopes.items():
            expected = scope.after if what == "undo" else scope.before
            tops = self._tops(owner, scope.targets)
            for target in sorted(
                expected.keys() | tops.keys(), key=lambda t: (t[0], -1 if t[1] is None else t[1])
            ):
                if tops.get(target) == self._remembered(expected.get(target)):
                    continue
                conflicts.append(self._conflict(step, owner, target, tops.get(target)))
        if conflicts:
            raise UndoError(
                f"cannot {what} {step.label!r} (step {step.id}): "
                + "; ".join(dict.fromkeys(conflicts))
                + ". Nothing was changed; undo the later change first, or edit by hand."
            )

    def _remembered(self, step_id: int | None) -> int | None:
        """Id of a step, None if it is too old to be known."""
        return None if step_id is None or step_id in self._forgotten else step_id

    def _forget_oldest(self) -> None:
        """Let go of the first step in force: it cannot be undone any more."""
        step = next(iter(self._in_force.values()))
        del self._in_force[step.id]
        self._in_force_of[step.origin].remove(step)  # the first of its origin
        if step.id in self._schema_steps:  # what later steps were made under must be known
            return
        for owner, target in {(c.owner, c.target) for c in step._changes}:
            stacks = self._writers[owner]
            stacks[target].remove(step.id)
            if not stacks[target]:
                del stacks[target]
            if not stacks:
                del self._writers[owner]
        self._forgotten.add(step.id)

    def _conflict(self, step: Step, owner: str | int, target: _Target, writer: int | None) -> str:
        own = [c for c in step._changes if c.owner == owner]
        change = next((c for c in own if c.target == target), None)
        other = self._in_force.get(writer) if writer is not None else None
        if target == _SCHEMA:
            change = PrimitiveChange("schema", None, cast("int", owner), None, None)
            other = None if writer is None else self._schema_steps[writer]
        elif change is None and other is not None:
            change = next(
                (c for c in other._changes if c.owner == owner and c.target == target), None
            )
        name = self._describe(change if change is not None else own[0])
        if other is None:
            return f"{name} no longer has the value it had before, an earlier step was undone"
        by = _by(other, step)
        return f"{name} was changed since by {other.label!r} (step {other.id}{by})"

    def _tops(self, owner: str | int, targets: frozenset[_Target] | None) -> _Tops:
        stacks = self._writers.get(owner, {})
        return {
            target: stack[-1]
            for target, stack in stacks.items()
            if stack and (targets is None or target in targets)
        }

    def _push(self, owner: str | int, targets: set[_Target], step_id: int) -> None:
        stacks = self._writers.setdefault(owner, {})
        for target in targets:
            stacks.setdefault(target, []).append(step_id)

    # Events

    def on_change(self, callback: Callable[[Change], object]) -> Callable[[], None]:
        """Register a callback; return the function that removes it."""
        return _register(self._callbacks, callback)

    def on_callback_error(self, handler: Callable[[Exception], object]) -> Callable[[], None]:
        """Register a handler of exceptions of callbacks; return the function that removes it."""
        return _register(self._error_handlers, handler)

    def watch(self, watcher: Callable[[Change], object]) -> Callable[[], None]:
        """Register what must know of a change before the lock is released; it must not raise."""
        return _register(self._watchers, watcher)

    def _tell_watchers(self, change: Change) -> None:
        for watcher in tuple(self._watchers.values()):
            watcher(change)

    @contextmanager
    def callbacks_after(self) -> Iterator[None]:
        """Hold back the callbacks for what this thread changes in the body until it has ended.

        For a caller that takes the lock inside the body for several edits: callbacks run without.
        """
        if getattr(self._held, "changes", None) is not None:
            yield
            return
        changes: list[Change] = []
        self._held.changes = changes
        try:
            yield
        finally:
            self._held.changes = None
            if changes:
                self.settle()
            for change in changes:
                self._call(change)

    def notify(self, change: Change) -> None:
        """Call every callback with `change`; errors go to the handlers, else are raised."""
        held: list[Change] | None = getattr(self._held, "changes", None)
        if held is not None:
            held.append(change)
            return
        self.settle()
        self._call(change)

    def _call(self, change: Change) -> None:
        errors: list[Exception] = []
        for callback in tuple(self._callbacks.values()):
            try:
                callback(change)
            except Exception as raised:  # whatever a user's callback raises
                errors.append(raised)
        handlers = tuple(self._error_handlers.values())
        if not errors:
            return
        if handlers:
            for error in errors:
                for handler in handlers:
                    handler(error)
        elif len(errors) == 1:
            raise errors[0]
        else:
            raise ExceptionGroup(f"{len(errors)} on_change callbacks failed", errors)


def _change(kind: Literal["edit", "undo", "redo"], step: Step) -> Change:
    images = {change.image for change in step._changes if change.image >= 0}
    if not images and step.image is not None:
        images = {step.image}
    uids = {change.uid for change in step._changes if change.uid is not None}
    for change in step._changes:
        if change.target == _SCHEMA:
            images.update(change.after.images)
            uids.update(change.after.uids)
    return Change(kind, step.label, step.origin, frozenset(images), frozenset(uids), step)


def _has_given(step: Step, value: PrimitiveChange) -> bool:
    """Whether a step has put anything else in the place of a value that it wrote."""
    key = (value.owner, value.target)
    return any(c.before is not c.after for c in step._changes if (c.owner, c.target) == key)


def _last(
    steps: dict[int, Step],
    by_origin: dict[Hashable, list[Step]],
    origin: Hashable | AnyOrigin,
) -> Step | None:
    if origin is ANY:
        return next(reversed(steps.values()), None)
    of_origin = by_origin.get(origin)
    return of_origin[-1] if of_origin else None


def _move(
    step: Step,
    source: dict[int, Step],
    source_of: dict[Hashable, list[Step]],
    goal: dict[int, Step],
    goal_of: dict[Hashable, list[Step]],
) -> None:
    if next(reversed(source)) == step.id:
        # popitem shortens the table; del would leave holes that the next reversed() walks over.
        source.popitem()
    else:
        del source[step.id]
    source_of[step.origin].pop()
    goal[step.id] = step
    goal_of.setdefault(step.origin, []).append(step)


def _register(registry: dict[object, _F], function: _F) -> Callable[[], None]:
    key = object()
    registry[key] = function

    def unregister() -> None:
        registry.pop(key, None)

    return unregister


def _by(other: Step, step: Step) -> str:
    """Whose another step is, in words, if it is not of the same origin."""
    if other.origin == step.origin:
        return ""
    return ", made by code" if other.origin is None else f" of {other.origin!r}"
