"""Open and save: what joins a dataset to the file it lives in."""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import hashlib
import json
import os
import re
import threading
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from kpwidget import formats
from kpwidget.compaction import compact, compact_if_many
from kpwidget.dataset import Dataset, FileStat
from kpwidget.dataset.decisions import Decision, place_of, put_decision
from kpwidget.dataset.passes import Opinion, put_opinion
from kpwidget.formats import WriteReport
from kpwidget.formats.coco_write import made_coco
from kpwidget.journal import (
    Conflict,
    Entry,
    Journal,
    Recorder,
    Replayed,
    changed_schemas,
    history_table,
    is_moved,
    of_another,
    of_passes,
    read_logs,
    replay,
)
from kpwidget.words import count

if TYPE_CHECKING:
    from kpwidget.schema import Category, Schema

__all__ = [
    "ConflictError",
    "attach_journal",
    "journal_folder",
    "open",
    "read_decisions",
    "save",
]


#: Files up to this size are hashed while their mark is written: it takes some 50 ms.
_SOON_HASHED = 32_000_000


class ConflictError(RuntimeError):
    """A save that would overwrite what somebody else has written."""


def open(
    path: str | os.PathLike[str],
    images: Any = None,
    schema: Schema | Category | Sequence[Schema | Category] | None = None,
    annotator: str | None = None,
    journal: str | os.PathLike[str] | bool = True,
    autosave: bool = True,
) -> Dataset:
    """Dataset in a file, or a new one that will be saved there, with a journal of its edits.

    Every edit is on disk in the journal before it counts as done. What the journal has and the
    file has not is put in place; a line says so.

    Parameters
    ----------
    path : str or os.PathLike
        The labels file. If it exists it is read, else `images` and `schema` make a new dataset;
        ``ds.save()`` then writes the file.
    images : folder, glob, list or mapping, optional
        See `kpwidget.read` for a file that exists, `Dataset.from_images` for a new one.
    schema : Schema or Category, or a list of them, optional
        What is labeled. For a file that exists: checked against its categories.
    annotator : str, optional
        The person in whose name edits are made. Default: JUPYTERHUB_USER or the login name.
    journal : bool, str or os.PathLike
        Folder of the journal; by default beside the file, ``labels.kpwidget`` for ``labels.json``.
        False for none.
    autosave : bool
        Whether an annotator writes the file, if it is smaller than 20 MB, when nothing has been
        edited for ten seconds. The journal has every edit in any case.

    Returns
    -------
    Dataset
        With ``ds.path`` set.

    Raises
    ------
    FileNotFoundError
        If the file does not exist and there is nothing to make a dataset of.
    ValueError
        If a schema is not that of a category of the file.
    ConflictError
        If somebody else has changed the file, and the journal has edits that were made on the one
        before.
    """
    folder = journal_folder(Path(path)) if isinstance(journal, bool) else Path(journal)
    dataset = _opened(path, images, schema, annotator, folder if journal is not False else None)
    dataset._saves_itself = autosave
    if journal is not False:
        said = attach_journal(dataset, None if journal is True else folder)
        if said:
            print(said)
    return dataset


def _opened(
    path: str | os.PathLike[str],
    images: Any,
    schema: Schema | Category | Sequence[Schema | Category] | None,
    annotator: str | None,
    journal: Path | None,
) -> Dataset:
    target = Path(path)
    if target.exists():
        dataset = formats.read(target, images=images)
        if schema is not None:
            _check_schemas(dataset, schema, target, journal)
        if annotator is not None:
            dataset.annotator = annotator
        return dataset
    missing = [f"{name}=" for name, value in (("images", images), ("schema", schema)) if
               value is None]  # fmt: skip
    if schema is None or images is None:
        raise FileNotFoundError(
            f"{target}: there is no such file; to begin a new dataset pass {' and '.join(missing)}"
        )
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"{target}: there is no folder {str(target.parent)!r} to save it in; make it first"
        )
    dataset = Dataset.from_images(images, schema, annotator=annotator)
    dataset.path = target
    return dataset


def save(dataset: Dataset, path: str | os.PathLike[str] | None = None) -> WriteReport:
    """Write a dataset to its file, as COCO JSON.

    Parameters
    ----------
    dataset : Dataset
    path : str or os.PathLike, optional
        By default ``dataset.path``. A path given becomes ``dataset.path``.

    Returns
    -------
    WriteReport

    Raises
    ------
    ValueError
        If there is no path.
    UndoError
        Inside of a transaction.
    ConflictError
        If the file at ``dataset.path`` is no longer the one that was read or saved last, and has
        something that neither this dataset has nor the journal tells: somebody else has changed
        it. It is not overwritten. (What another notebook has saved is taken in, and the report says
        so.)
    """
    target = dataset.path if path is None else Path(path)
    if target is None:
        raise ValueError(
            "this dataset was not opened from a file: say where to save it, ds.save('labels.json'),"
            " or export it with kp.write(ds, 'labels.json', format='coco')"
        )
    # Two saves at a time could leave the older content; an edit waits for some tenths of a second.
    with dataset._history.callbacks_after(), dataset.lock:
        # What a transaction has done so far is not in the journal, and may be rolled back.
        dataset._history.refuse_when_open("save")
        return _saved(dataset, target)


def _saved(dataset: Dataset, target: Path) -> WriteReport:
    is_own = dataset.path is not None and _same_path(target, dataset.path)
    notes: tuple[str, ...] = ()
    if is_own:
        try:
            _refuse_conflict(dataset, target)
        except ConflictError:
            taken = _take_in(dataset, target)
            if taken is None:
                raise
            notes = (f"another notebook had saved, and was taken in: {taken}",) if taken else ()
    report = made_coco(dataset, target)
    if dataset.recorder is None and len(dataset.passes):
        notes = (*notes, "second opinions are in memory only: this dataset has no journal")
    if dataset.recorder is None and len(dataset.decisions):
        notes = (*notes, "decisions on findings are in memory only: this dataset has no journal")
    report = dataclasses.replace(report, notes=(*notes, *report.notes))
    recorder: Recorder | None = dataset.recorder
    # One that began without a file goes on in its journal: the cells that made it find that.
    is_moved = recorder is not None and not is_own and dataset.path is not None
    if is_moved:
        recorder = Recorder(dataset, Journal(journal_folder(target)))
        recorder.skip_others()  # of the file that was there before
        recorder.take_over()
    covers = {} if recorder is None else recorder.position()
    number = 0 if recorder is None else recorder.begin_save()
    written: list[FileStat] = []

    def before(path: Path, stat: os.stat_result) -> None:
        if is_own:  # once more: meanwhile another notebook may have saved
            _refuse_conflict(dataset, target)
        written.append(FileStat.of(stat))
        if recorder is not None:
            _keep_previous(path, recorder.journal.folder)
            _mark(recorder, report.content, written[-1], covers, save=number)

    try:
        formats.write_file(target, report.content, before)
    except BaseException:
        if is_moved and recorder is not None:  # the edits go on where they went
            recorder.journal.discard()
        raise
    if recorder is not None:
        recorder.end_save(number)
    if is_moved and recorder is not None:
        _begin_recording(dataset, recorder)
        for step in dataset._history.all_steps():
            step.writer = step.number = None
    dataset.path = target
    dataset._saved_revision = dataset._revision
    dataset.layout.stat = written[-1]
    dataset.layout.written = report.content
    return report


def _take_in(dataset: Dataset, path: Path) -> str | None:
    """Take in what another notebook has saved, if that is all that the file has and we have not.

    The file is opened as it would be anew, with the journal: that has to give, value for value,
    what we have with the edits of the others. Anything else in the file is somebody's who keeps no
    journal, and is not overwritten.

    Returns
    -------
    str or None
        What was taken in, in words; None if the file has something else, and is to be left as it
        is.
    """
    recorder: Recorder | None = dataset.recorder
    if recorder is None or not recorder.journal.flush():
        return None
    where = recorder.journal.folder
    try:
        anew = formats.read(path)
        entries, problems = read_logs(where)
        entries, _ = _of_this_file(entries, anew)
        done, _, is_known = _restored(anew, entries, where)
    except (OSError, ValueError, ConflictError):
        return None  # cut off, edited by hand, or of another lineage: the caller says so
    is_whole = is_known and not (problems or done.problems or done.failed or done.conflicts)
    if not is_whole or anew.skipped or dataset.conflicts:
        return None
    said = refresh(dataset)
    before = dataset._table.given_ids()
    if not dataset._table.take_ids({instance.uid: instance.id for instance in anew.instances}):
        return None
    different = [text for text in anew.differences(dataset) if not text.startswith("the order of ")]
    if different or dataset.conflicts:
        dataset._table.take_ids(dict(before))
        return None
    dataset.layout.stat = anew.layout.stat
    dataset.layout.written = [] if anew.layout.text is None else [anew.layout.text.data]
    return said


def _mark(
    recorder: Recorder,
    pieces: Sequence[bytes | memoryview],
    stat: FileStat,
    covers: Mapping[str, int],
    *,
    save: int | None,
) -> None:
    """Say in the journal that a file of this content has what `covers` says.

    The hash of a large one takes as long as writing it: it comes in a later mark, and until then
    size, time and inode tell the file.
    """

    def mark(digest: bytes | None) -> None:
        recorder.mark_saved(digest, stat, covers, save)
        if save is not None:  # to open a file leaves nothing behind
            recorder.journal.flush()

    if stat.size <= _SOON_HASHED:
        mark(digest_of(pieces))
        return
    mark(None)

    def hash_it() -> None:
        mark(digest_of(pieces))

    threading.Thread(target=hash_it, name="kpwidget-hash", daemon=True).start()


def _keep_previous(path: Path, folder: Path) -> None:
    """Keep the file that is about to be replaced, once, beside the journal."""
    if not path.exists() or not folder.is_dir():
        return
    kept = folder / f"previous{path.suffix}"
    temporary = kept.with_name(f".{kept.name}.tmp")
    # It is a second copy, for a person who is sorry: no reason not to save.
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
        os.link(path, temporary)
        with formats.kept_open(kept):
            os.replace(temporary, kept)


def journal_folder(path: Path) -> Path:
    """Folder of the journal of a labels file: beside it, with the ending ``.kpwidget``."""
    return path.with_suffix(".kpwidget")


def _unsaved_folder(dataset: Dataset) -> Path:
    """Folder of the journal of a dataset without a file: told by its images and its schema."""
    paths = [state.data for state in dataset._images if isinstance(state.data, str | os.PathLike)]
    if len(paths) == len(dataset._images) and paths:
        folders = [os.path.dirname(os.path.abspath(path)) for path in paths]
        root = os.path.commonpath(folders)
        name, told_by = os.path.basename(root) or "images", root
    else:
        # No place on disk says which these are: their names, how they begin, and the notebook.
        pictures = sorted(f"{state.file_name}:{_begins(state.data)}" for state in dataset._images)
        name, told_by = "images", json.dumps([os.environ.get("JPY_SESSION_NAME"), pictures])
    if dataset._pass_of is not None:  # beside the labels, and blind to them
        told_by = json.dumps([told_by, *dataset._pass_of])
    schema = json.dumps([[c.name, c.keypoints] for c in dataset.categories])
    short = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:40] or "images"
    digest = hashlib.sha256(f"{told_by}\n{schema}".encode("utf-8", "surrogatepass")).hexdigest()
    return Path(".kpwidget").absolute() / f"{short}-{digest[:12]}"


def _begins(data: Any) -> str:
    """Shape and first bytes of a picture that is in memory, as a short text."""
    if isinstance(data, np.ndarray):
        first = np.ascontiguousarray(data.reshape(-1)[:65536]).tobytes()
        return f"{data.shape} {data.dtype} {zlib.crc32(first):08x}"
    if isinstance(data, bytes):
        return f"{len(data)} {zlib.crc32(data[:65536]):08x}"
    return str(data)


def attach_journal(dataset: Dataset, folder: str | os.PathLike[str] | None = None) -> str:
    """Keep the edits of a dataset in a journal, after those it has were put in place.

    Parameters
    ----------
    dataset : Dataset
        Nothing happens if it has a journal.
    folder : str or os.PathLike, optional
        By default beside ``dataset.path``, with the ending ``.kpwidget``; for a dataset without a
        file in ``./.kpwidget``, found again by the folder of the images and the schema.

    Returns
    -------
    str
        What was put in place, for people; empty if there was nothing.

    Raises
    ------
    ConflictError
        If the journal has edits that no version of the labels file has, and the file is not the one
        they were made on. Nothing is changed.
    """
    if dataset.recorder is not None:
        return ""
    if folder is None:
        folder = _unsaved_folder(dataset) if dataset.path is None else journal_folder(dataset.path)
    where = Path(folder)
    entries, problems = read_logs(where)
    with dataset.lock:
        text = dataset.layout.text
        entries, strange = _of_this_file(entries, dataset)
        done, covered, is_known = _restored(dataset, entries, where)
        head = next((entry for entry in entries if entry.kind == "log"), None)
        if head is not None:
            dataset.uid = str(head.content.get("dataset", dataset.uid))
        after = max((entry.order[0] for entry in (*entries, *strange)), default=0)
        recorder = Recorder(dataset, Journal(where, after))
        recorder.ignore(strange)
        recorder.anew = None if is_known else after
        _begin_recording(dataset, recorder)
        # Not before there is an edit: to open a file leaves nothing behind.
        has_more = recorder.begin_after(entries, done)
        recorder.note_failed(done.failed)
        dataset._tokens = dict(done.tokens)
        dataset.conflicts = [
            *dataset.conflicts,
            *(c for c in _marked_conflicts(entries, covered) if not c.is_among(done.decided)),
            *done.conflicts,
        ]
        stat = dataset.layout.stat
        if text is not None and stat is not None and (not is_known or not entries):
            _mark(recorder, [text.data], stat, covered, save=None)
        problems += done.problems + done.left_out
    if has_more:
        recorder.journal.flush()
    compact_if_many(where, recorder.journal.writer)
    said = []
    moved = max((entry.order for entry in entries if is_moved(entry)), default=None)
    n_left = sum(e.kind == "edit" and e.order > moved for e in strange) if moved else 0
    if n_left:
        said.append(
            f"kpwidget: {count(n_left, 'edit')} of the dataset that was in this file "
            f"before, made since another was saved over it, left out: {where} keeps them"
        )
    if done.n_steps:
        n = len(done.instances)
        said.append(
            f"kpwidget: {count(done.n_steps, 'edit')} of "
            f"{count(n, 'instance')} restored from {where}"
        )
    if done.conflicts:
        said.append(_of_two(len(done.conflicts)))
    if problems:
        said.append(f"{len(problems)} entries could not be used: {'; '.join(problems[:3])}")
        dataset.journal_problems = tuple(problems)
    return "; ".join(said)


def _restored(
    dataset: Dataset, entries: Sequence[Entry], where: Path
) -> tuple[Replayed, dict[str, int], bool]:
    """Put in place what the journal has and the file has not.

    Returned as well: what the file has of the journal, and whether the journal knows the file.
    """
    covered, is_known = _covered(entries, dataset, where)
    _rename_given(dataset, entries, covered if is_known else {})
    was_saved = dataset.is_saved
    misplaced: list[str] = []
    if not is_known:  # the file was changed by somebody else, and nothing of ours was lost
        covered = {entry.writer: entry.n for entry in entries}
    schemas = None
    for entry in entries:
        if entry.kind == "saved" and entry.content["covers"] == covered:
            schemas = dict(entry.content.get("schemas", {}))
    if not is_known:
        entries, misplaced = of_passes(entries, dataset)
    done = replay(dataset, entries, covered, schemas=schemas)
    done.left_out += misplaced
    if was_saved and not done.n_steps:
        dataset._saved_revision = dataset._revision
    return done, covered, is_known


def read_decisions(dataset: Dataset) -> Path | None:
    """Take the decisions on findings from the journal beside a labels file, and nothing else of it.

    The journal is read only, and the labels stay those of the file. A decision that was made on
    edits which are not saved yet is not about these.

    Parameters
    ----------
    dataset : Dataset
        As it was read from its file.

    Returns
    -------
    Path or None
        The folder of the journal; None if there is none.
    """
    where = None if dataset.path is None else journal_folder(dataset.path)
    if where is None or not where.is_dir():
        return None
    with dataset.lock:
        entries, _ = _of_this_file(read_logs(where)[0], dataset)
        try:
            covered, is_known = _covered(entries, dataset, where)
        except ConflictError:  # what is not in the file does not matter here
            covered, is_known = {}, False
        _rename_given(dataset, entries, covered if is_known else {})
        beside, _ = of_passes(entries, dataset)
        replay(dataset, beside, {entry.writer: entry.n for entry in entries}, rerun=False)
    return where


def _rename_given(dataset: Dataset, entries: Sequence[Entry], covered: Mapping[str, int]) -> None:
    """Give instances the uids that the journal knows them by."""
    for uid, number in _given_ids(entries, covered).items():
        row = dataset._table.row_of_id(number)
        if row is not None and not dataset._table.has(uid):
            dataset._table.rename(row, uid)


def history(dataset: Dataset) -> Any:
    """Table of the journal of a dataset; see `Dataset.history`."""
    recorder = _needed(dataset)
    recorder.journal.flush()
    return history_table(read_logs(recorder.journal.folder)[0])


def compact_journal(dataset: Dataset) -> str:
    """Pack the logs of sessions that are over; see `Dataset.compact_journal`."""
    journal = _needed(dataset).journal
    return str(compact(journal.folder, journal.writer))


def refresh(dataset: Dataset) -> str:
    """Put in place what others have appended to the journal; see `Dataset.refresh`."""
    recorder = _needed(dataset)
    with dataset.lock:
        dataset._history.refuse_when_open("refresh")
        entries, _ = recorder.read_others()
        done = replay(dataset, entries, {}, rerun=False)
        recorder.note_failed(done.failed)
        known = [c for c in dataset.conflicts if not c.is_among(done.decided)]
        dataset.conflicts = [*known, *done.conflicts]
        dataset.journal_problems += (*done.problems, *done.left_out)
    dataset._history.announce(done.steps, but=recorder.record)
    if not (done.n_steps or done.problems or done.left_out):
        return ""
    n = len(done.instances)
    said = f"{count(done.n_steps, 'edit')} of {count(n, 'instance')} by others"
    if done.conflicts:
        said += "; " + _of_two(len(done.conflicts))
    return said


def _of_two(n: int) -> str:
    values = "1 value was" if n == 1 else f"{n} values were"
    return f"{values} changed by two people: see ds.conflicts"


def resolve(dataset: Dataset, conflict: Conflict, take: Literal["kept", "other"]) -> None:
    """Decide about a conflict; see `Dataset.resolve`."""
    if take not in ("kept", "other"):
        raise ValueError(f"take is 'kept' or 'other', not {take!r}")
    recorder = _needed(dataset)
    with dataset._history.callbacks_after(), dataset.lock:
        if not any(one.key == conflict.key for one in dataset.conflicts):
            raise ValueError("this conflict has been decided about already, or is of other data")
        if take == "other":
            _put(dataset, conflict)
        recorder.resolve(conflict)
        dataset.conflicts = [one for one in dataset.conflicts if one.key != conflict.key]
    recorder.journal.flush()


def _put(dataset: Dataset, conflict: Conflict) -> None:
    """Give the value that is not in force."""
    value = conflict.other
    if conflict.what == "decision":
        about = Decision.from_json(
            conflict.image or None, conflict.instance, conflict.kept or value
        )
        said = value and Decision.from_json(conflict.image or None, conflict.instance, value)
        with dataset.transaction(f"{said.verdict if said else 'open again'}: {about.check}"):
            put_decision(dataset, place_of(dataset, about), said)
        return
    if conflict.what == "status":
        dataset.images[conflict.image].set_status("done" if value else "started")
        return
    instance = dataset.instance(str(conflict.instance))
    if conflict.what == "finished":
        instance.set_finished(bool(value))
    elif conflict.what == "bbox":
        instance.set_bbox(value)
    elif conflict.what == "pass":
        name = (conflict.kept or value)["n"]
        opinion = value and Opinion.from_json(instance.uid, value)
        with dataset.transaction(f"add pass {name}"):
            put_opinion(dataset, instance.uid, name, opinion)
    elif conflict.what == "keypoint" and conflict.keypoint is not None:
        if value is None or not value[2]:
            instance.clear_keypoint(conflict.keypoint)
        else:
            instance.set_keypoint(conflict.keypoint, *value)
    else:
        raise ValueError(f"a conflict about {conflict.what!r} is decided by an edit of your own")


def _needed(dataset: Dataset) -> Recorder:
    recorder: Recorder | None = dataset.recorder
    if recorder is None:
        raise ValueError(
            "this dataset has no journal: open its file with kp.open, or label it in an Annotator"
        )
    return recorder


def _begin_recording(dataset: Dataset, recorder: Recorder) -> None:
    """Let a recorder take the place of the one before, if there is one."""
    if dataset.recorder is not None:
        dataset.recorder.stop()
        dataset.recorder.journal.close()
    dataset.recorder = recorder
    recorder.start()


def _of_this_file(entries: Sequence[Entry], dataset: Dataset) -> tuple[list[Entry], list[Entry]]:
    """Entries that are about the dataset in this file, and those of others under its name.

    A dataset that is saved over another one writes its journal first. If its process ends before
    the file is in its place, the journal has the edits of a dataset that never was in it. And who
    has the one before still open goes on to write.
    """
    marks = [entry for entry in entries if entry.kind == "saved"]
    fitting = _fitting(marks, dataset)
    strange = {e.writer for e in entries if is_moved(e)} - {
        e.writer for e in entries if e.kind == "put"
    }
    if strange:
        strange -= {mark.writer for mark in fitting}
        for mark in marks:  # somebody has opened the file, and saved it since
            strange -= set(mark.content["covers"]) - {mark.writer}
    heads = [e for e in entries if e.kind == "log" and e.writer not in strange]
    last = [head for head in heads if is_moved(head)][-1:]
    last = [head for head in heads if fitting and head.writer == fitting[-1].writer] or last
    if last:
        strange |= of_another(heads, str(last[0].content.get("dataset")))
    return (
        [entry for entry in entries if entry.writer not in strange],
        [entry for entry in entries if entry.writer in strange],
    )


def _fitting(marks: Sequence[Entry], dataset: Dataset) -> list[Entry]:
    """Those of the marks that are of the file that the dataset was read from."""
    text, stat = dataset.layout.text, dataset.layout.stat
    told = None if stat is None else [stat.size, stat.mtime_ns, stat.inode]
    fitting = [mark for mark in marks if told and mark.content.get("stat") == told]
    if marks and not fitting and text is not None:
        # A copy or a checkout gives the same file another time.
        digest = digest_of([text.data]).hex()
        fitting = [mark for mark in marks if mark.content.get("digest") == digest]
    return fitting


def _covered(
    entries: Sequence[Entry], dataset: Dataset, folder: Path
) -> tuple[dict[str, int], bool]:
    """What of the journal the labels file has already, and whether the journal knows the file."""
    if dataset.layout.text is None or dataset.path is None:
        return {}, True
    marks = [entry for entry in entries if entry.kind == "saved"]
    fitting = _fitting(marks, dataset)
    if fitting:
        return {str(k): int(v) for k, v in dict(fitting[-1].content["covers"]).items()}, True
    if not marks:
        return {}, not entries
    saved: dict[str, int] = {}
    put = {(entry.writer, entry.content.get("save")) for entry in entries if entry.kind == "put"}
    for mark in marks:
        number = mark.content.get("save")
        if number is not None and (mark.writer, number) not in put:
            continue  # its file may never have come to its place
        for writer, n in dict(mark.content["covers"]).items():
            saved[writer] = max(saved.get(writer, 0), int(n))
    left = [
        entry
        for entry in entries
        if entry.kind in ("edit", "undo", "redo") and entry.n > saved.get(entry.writer, 0)
    ]
    if not left:
        return {}, False
    uids = {part[2] for entry in left for part in entry.content.get("d", ()) if part[2]}
    shown = ", ".join(sorted(map(str, uids))[:5]) + (", ..." if len(uids) > 5 else "")
    raise ConflictError(
        f"{dataset.path}: somebody else has changed this file, and the journal {folder} has "
        f"{len(left)} edits that it was never saved with, of {len(uids)} instances ({shown}). "
        "Nothing was changed. To work with the file as it is, open it with journal=False; to take "
        f"both sides, put the version they were made on ({folder / 'previous.json'}, if it is that "
        "one) back in its place, open and save it under another name, and use ds.merge"
    )


def _marked_conflicts(entries: Sequence[Entry], covered: Mapping[str, int]) -> list[Conflict]:
    """Those that were not decided when the file was saved, from its mark."""
    marks = [e.content for e in entries if e.kind == "saved" and e.content["covers"] == covered]
    found: list[dict[str, Any]] = marks[-1].get("conflicts", []) if marks else []
    return [Conflict(**{k: cast("Any", _as_tuples(v)) for k, v in one.items()}) for one in found]


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def _given_ids(entries: Iterable[Entry], covered: Mapping[str, int]) -> dict[str, int]:
    """Annotation ids that instances were given when they were saved, by uid.

    Two that have saved in the same moment may have given the same one: what the mark of the file
    says, which has what is `covered`, comes last, and what was said before it behind all others.
    """
    marks = [entry.content for entry in entries if entry.kind == "saved"]
    at = max((i for i, mark in enumerate(marks) if mark["covers"] == covered), default=len(marks))
    found: dict[str, int] = {}
    for mark in (*marks[at + 1 :], *marks[: at + 1]):
        for uid, number in dict(mark.get("ids", {})).items():
            found.pop(uid, None)
            found[str(uid)] = int(number)
    return found


def digest_of(pieces: Iterable[bytes | memoryview]) -> bytes:
    """BLAKE2b hash of some bytes, 16 bytes long: which content of a file a mark is about."""
    digest = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def _same_path(one: Path, other: Path) -> bool:
    return os.path.abspath(one) == os.path.abspath(other)


def _has(path: Path, pieces: Sequence[bytes | memoryview]) -> bool:
    """Whether a file holds these bytes and no others."""
    with builtins.open(path, "rb") as file:
        return all(file.read(len(piece)) == piece for piece in pieces) and not file.read(1)


def _refuse_conflict(dataset: Dataset, path: Path) -> None:
    """Raise ConflictError if the file is not the one that was read or saved last.

    Size, time and inode tell that it is; only where they differ is the content looked at, since a
    copy or a checkout gives the same file other ones.
    """
    layout = dataset.layout
    try:
        stat = FileStat.of(path.stat())
    except FileNotFoundError:
        return  # nothing there that could be lost
    if layout.stat is None:
        raise ConflictError(
            f"{path}: this dataset was begun when there was no such file, and now there is one. "
            "Nothing was overwritten. Save under another name, ds.save('other.json'), or read the "
            "file with kp.read and take both sides with ds.merge"
        )
    if stat == layout.stat:
        return
    pieces = layout.written
    if pieces is None:
        pieces = [] if layout.text is None else [layout.text.data]
    if stat.size == layout.stat.size and _has(path, pieces):
        layout.stat = stat
        return
    raise ConflictError(
        f"{path}: somebody else has changed this file since it was read ({layout.stat.size} bytes "
        f"then, {stat.size} now). Nothing was overwritten. Save under another name, "
        "ds.save('other.json'), or read the file again with kp.read and take both sides with "
        "ds.merge"
    )


def _check_schemas(
    dataset: Dataset,
    schema: Schema | Category | Sequence[Schema | Category],
    path: Path,
    journal: Path | None,
) -> None:
    """Raise ValueError naming every schema that no category of the file has, or once had."""
    # The name is not compared: a category read from a file has the category's name.
    wanted = Dataset(schema).categories
    known = [(c.keypoints, c.schema.skeleton) for c in dataset.categories]
    if journal is not None and any((c.keypoints, c.schema.skeleton) not in known for c in wanted):
        # A cell that began with a schema goes on to run when that was changed.
        known += [(s.keypoints, s.skeleton) for s in changed_schemas(read_logs(journal)[0])]
    problems = []
    for category in wanted:
        if (category.keypoints, category.schema.skeleton) in known:
            continue
        problem = f"no category has the {category.n_keypoints} keypoints of {category.name!r}"
        same = [c for c in dataset.categories if c.keypoints == category.keypoints]
        if same:
            problem = f"category {same[0].name!r} has another skeleton than {category.name!r}"
        problems.append(problem)
    if problems:
        listed = "; ".join(
            f"{c.name!r} ({', '.join(c.keypoints[:6])}{', ...' if c.n_keypoints > 6 else ''})"
            for c in dataset.categories
        )
        raise ValueError(
            f"{path}: does not fit the schema given: {'; '.join(problems)}. The file has "
            f"{listed or 'no categories with keypoints'}. Open it without schema=, or save under "
            "another name."
        )
