"""The commands that work on labels files: info, convert, check, report, roundtrip, merge, split.

What comes from a file is a stranger's: every text is printed with its control characters escaped.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kpwidget.words import count

if TYPE_CHECKING:
    from kpwidget.dataset import Dataset
    from kpwidget.dataset.findings import Problem
    from kpwidget.formats import Loss
    from kpwidget.schema import Category, Schema

__all__ = ["add_commands"]

OK: Final = 0
FINDINGS: Final = 1
CANNOT_RUN: Final = 2

_N_FOLDERS: Final = 100  # looked at for missing images
_N_NAMES: Final = 5  # names shown where there may be many


def add_commands(commands: Any) -> None:
    """Add the parsers of these commands.

    Parameters
    ----------
    commands : argparse subparsers
        As `argparse.ArgumentParser.add_subparsers` returns them. Each command sets ``run``, a
        function from the parsed arguments to the exit code.
    """
    info = _command(commands, "info", _info, "tell what is in a labels file")
    info.add_argument("file", type=Path, metavar="FILE", help="labels file or folder")
    _add_reading(info)

    convert = _command(
        commands, "convert", _convert, "write labels in another format",
        "Exit code 1, and nothing written, where the format has no place for all of it and "
        "--allow-loss is not given.",
    )  # fmt: skip
    convert.add_argument("source", type=Path, metavar="SRC", help="labels file or folder")
    convert.add_argument("target", type=Path, metavar="DST", help="file or folder to write")
    convert.add_argument("--to", required=True, metavar="FORMAT", help="format to write")
    convert.add_argument(
        "--allow-loss", action="store_true", help="write what the format has a place for"
    )
    convert.add_argument(
        "--split",
        type=_parts,
        metavar="PARTS",
        help="train=.8,val=.2, or lists: val=@val.txt,train=rest; for formats with parts",
    )
    convert.add_argument("--seed", type=int, default=0, help="of the split (default: 0)")
    convert.add_argument("--group", metavar="GROUP", choices=("folder", "clip"), help=_GROUP_HELP)
    convert.add_argument(
        "--image-files",
        choices=("copy", "link", "leave"),
        help="for formats that bring them (default: copy)",
    )
    _add_reading(convert)
    _add_overwrite(convert)

    check = _command(
        commands, "check", _check, "look for what is wrong in a labels file",
        "Names every record that cannot be read, and every contradiction in those that can. With "
        "--images also images that are missing or have another size. Exit code 1 if there is any. "
        "What is mostly nothing wrong, such as instances without a labeled keypoint, is counted.",
    )  # fmt: skip
    check.add_argument("file", type=Path, metavar="FILE", help="labels file or folder")
    check.add_argument(
        "--limit", type=int, default=100, metavar="N",
        help="problems shown (default: 100; 0 for all; --json has all)",
    )  # fmt: skip
    check.add_argument(
        "--quality", action="store_true",
        help="also look for labels that are probably wrong; exit code 1 for errors only",
    )  # fmt: skip
    _add_reading(check, on_error=False)

    report = _command(
        commands, "report", _report, "write a page about a labels file",
        "One HTML file with counts, keypoints, findings, figures and a contact sheet; it needs no "
        "network. A report that is there is replaced, any other file is not.",
    )  # fmt: skip
    report.add_argument("source", type=Path, metavar="SRC", help="labels file or folder")
    report.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="page to write (.html)"
    )
    report.add_argument("--title", metavar="TEXT", help="default: the name of the labels file")
    report.add_argument(
        "--examples", type=int, default=24, metavar="N",
        help="instances on the contact sheet (default: 24; 0 for none)",
    )  # fmt: skip
    report.add_argument(
        "--quality", action="store_true",
        help="about what may be wrong, as check --quality; --examples are crops of such places",
    )  # fmt: skip
    report.add_argument(
        "--predictions", type=Path, metavar="FILE",
        help="with --quality: poses on images without labels, to say which to label next",
    )  # fmt: skip
    _add_reading(report)

    roundtrip = _command(
        commands, "roundtrip", _roundtrip, "certify that nothing is lost on reading and writing",
        "Reads the file, writes it to a temporary place, reads it again, and compares field by "
        "field. Exit code 1 if anything changed or was lost.",
    )  # fmt: skip
    roundtrip.add_argument("file", type=Path, metavar="FILE", help="labels file or folder")
    roundtrip.add_argument(
        "--all", action="store_true", help="show all fields, not only those that changed"
    )
    roundtrip.add_argument("--to", metavar="FORMAT", help="through this format and back")
    _add_reading(roundtrip)

    merge = _command(
        commands, "merge", _merge, "put labels files together",
        "Images are matched by file name. Exit code 1 if instances conflict and ours was kept.",
    )  # fmt: skip
    merge.add_argument("files", type=Path, nargs="+", metavar="FILE", help="two files or more")
    merge.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="to write")
    merge.add_argument("--to", metavar="FORMAT", default="coco", help="to write (default: coco)")
    merge.add_argument(
        "--match", choices=("name", "hash"), default="name",
        help="hash: images without a match by name are matched by content",
    )  # fmt: skip
    merge.add_argument(
        "--on-duplicate", choices=("report", "add"), default="report",
        help="add: equal instances are added all the same",
    )  # fmt: skip
    merge.add_argument(
        "--on-conflict", choices=("ours", "both"), default="ours",
        help="both: instances with the same uid and other values are added beside the first",
    )  # fmt: skip
    merge.add_argument(
        "--tolerance", type=float, default=1e-3, metavar="PX",
        help="how far coordinates of equal instances may differ, in pixels (default: 0.001)",
    )  # fmt: skip
    merge.add_argument(
        "--rename", type=_pair, action="append", default=[], metavar="OLD=NEW",
        help="another name for a category of the files after the first; may be repeated",
    )  # fmt: skip
    merge.add_argument(
        "--allow-loss", action="store_true", help="write what the format has a place for"
    )
    _add_reading(merge)
    _add_overwrite(merge)

    split = _command(
        commands, "split", _split, "divide a labels file into parts",
        "Writes one file per part into DIR. Image files are not touched: pass their folder to what "
        "reads the parts. A part of a format that is a folder is one, with copies of its images.",
    )  # fmt: skip
    split.add_argument("file", type=Path, metavar="FILE", help="labels file or folder")
    split.add_argument(
        "--parts", type=_parts, required=True, metavar="PARTS",
        help="train=.8,val=.2, or lists: val=@val.txt,train=rest (one file name per line)",
    )  # fmt: skip
    split.add_argument("--seed", type=int, default=0, help="default: 0")
    split.add_argument("--group", choices=("folder", "clip"), help=_GROUP_HELP)
    split.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder")
    _add_reading(split)
    _add_overwrite(split)


_GROUP_HELP: Final = "keep images together: of one folder, or named alike but for the number"


def _command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace, _Said], int],
    help: str,
    more: str = "",
) -> argparse.ArgumentParser:
    description = f"{help[0].upper()}{help[1:]}. {more}".strip()
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help, description=description)
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.set_defaults(run=lambda args: _guarded(args, run))
    return parser


def _add_reading(parser: argparse.ArgumentParser, *, on_error: bool = True) -> None:
    parser.add_argument("--format", metavar="FORMAT", help="of what is read (default: told)")
    parser.add_argument(
        "--images", type=Path, action="append", metavar="DIR",
        help="folder of the image files (default: that of the labels); may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--ground-truth", type=Path, metavar="FILE", help="labels that COCO results refer to"
    )
    parser.add_argument(
        "--schema", metavar="NAME",
        help="built-in schema, JSON file with the fields of a COCO category, or metainfo file of "
        "MMPose: what the labels lack of names, skeleton, flip pairs and sigmas",
    )  # fmt: skip
    if on_error:
        parser.add_argument(
            "--on-error", choices=("raise", "skip"), default="raise",
            help="skip: leave out records that cannot be read",
        )  # fmt: skip


def _add_overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")


def _parts(text: str) -> dict[str, float | str]:
    """Parts as given: ratios as numbers, all else as text."""
    parts: dict[str, float | str] = {}
    for item in text.split(","):
        name, sign, value = item.partition("=")
        name, value = name.strip(), value.strip()
        if not (name and sign and value):
            raise argparse.ArgumentTypeError(
                f"{item!r}: expected NAME=RATIO, such as train=0.8, or NAME=@FILE with one file "
                "name per line, or NAME=rest"
            )
        if name in (".", "..") or {"/", "\\", "\0"} & set(name):
            raise argparse.ArgumentTypeError(f"{name!r} is no name for a file")
        if name in parts:
            raise argparse.ArgumentTypeError(f"part {name!r} is given twice")
        if value == "rest" or value.startswith("@"):
            parts[name] = value
            continue
        try:
            parts[name] = float(value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(
                f"{item!r}: expected a number, @FILE with one file name per line, or 'rest'"
            ) from error
    return parts


def _pair(text: str) -> tuple[str, str]:
    old, sign, new = text.partition("=")
    if not (old and sign and new):
        raise argparse.ArgumentTypeError(f"{text!r}: expected OLD=NEW")
    return old, new


# --- running ------------------------------------------------------------------------------------


class _Said:
    """What a command has to say: lines for people, or values for machines."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.values: dict[str, Any] = {}

    def line(self, text: str = "") -> None:
        """Print lines for people."""
        if not self.as_json:
            _print(sys.stdout, text)

    def rows(self, rows: Iterable[tuple[str, str]]) -> None:
        """Print a table of two columns for people."""
        shown = [(name, value) for name, value in rows if value]
        width = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            self.line(f"{name:<{width}}  {_safe(value)}")  # a name may have a line break


def _guarded(args: argparse.Namespace, run: Callable[[argparse.Namespace, _Said], int]) -> int:
    """Run a command; what is wrong with the arguments or files becomes a message."""
    from kpwidget.formats import LossError

    said = _Said(as_json=args.json)
    said_warnings: list[str] = []
    code = CANNOT_RUN
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *rest, **more: said_warnings.append(str(message))
        try:
            code = run(args, said)
        except LossError as error:
            said.values["losses"] = _losses(error.losses)
            _tell_error(said, str(error))
            code = FINDINGS
        except (OSError, ValueError, TypeError, KeyError) as error:
            is_key = isinstance(error, KeyError) and error.args
            _tell_error(said, str(error.args[0]) if is_key else str(error))
    said_warnings = list(map(_for_shell, said_warnings))
    for text in said_warnings:
        _print(sys.stderr, f"kpwidget: warning: {text}")
    if said.as_json:
        values = {"ok": code == OK, **said.values, "warnings": said_warnings}
        sys.stdout.write(json.dumps(values, indent=2) + "\n")
    return code


def _losses(losses: Iterable[Loss]) -> list[dict[str, Any]]:
    return [{"what": loss.what, "n": loss.n, "text": loss.text} for loss in losses]


_IN_SHELL: Final = tuple(
    (re.compile(rf"\b{keyword}"), option)
    for keyword, option in (
        ("allow_loss=True", "--allow-loss"),
        ("overwrite=True", "--overwrite"),
        ("allow_outside=True", "allow_outside=True, in Python,"),
        (r"format='([\w-]+)'", r"--format \1"),
        ("format=", "--format"),
        ("ground_truth=", "--ground-truth FILE"),
        (r"images='(\w+)'", r"--image-files \1"),
        (r"images=( of kp\.read)?", "--images DIR"),
        ("match='hash'", "--match hash"),
        ("on_error='skip'", "--on-error skip"),
        (r"rename=\{'(.*?)': '(.*?)'\}", r"--rename \1='\2'"),
        (r"schema=kp\.schemas\.get\('(\w+)'\)", r"--schema \1"),
        ("schema=", "--schema NAME"),
        ("split=", "--split PARTS"),
        (r"report\.table\(\) has", "--all shows"),
    )
)


def _for_shell(text: str) -> str:
    """Message in which options have the names of the command line, not those of Python."""
    for pattern, option in _IN_SHELL:
        text = pattern.sub(option, text)
    return text


def _tell_error(said: _Said, text: str) -> None:
    text = _for_shell(text)
    said.values["error"] = text
    _print(sys.stderr, f"kpwidget: {text}")


def _print(stream: Any, text: str) -> None:
    """Print lines, with what is not printable or not in the stream's encoding escaped."""
    safe = "\n".join(map(_safe, text.split("\n")))
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(safe.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def _safe(text: str) -> str:
    r"""`text` with control characters, and others that do not show, as ``\x1b`` or ``\u202e``."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii")
        for c in text
    )


def _read(args: argparse.Namespace, path: Path, on_error: Any = None) -> tuple[Dataset, str]:
    """Return the dataset in a file, and its format."""
    from kpwidget import formats

    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    format = args.format or formats.detect_format(path)
    options = _reading_options(args)
    dataset = formats.read(
        path,
        images=args.images,
        format=format,
        on_error=on_error or args.on_error,
        **options,
    )
    return dataset, format


def _reading_options(args: argparse.Namespace) -> dict[str, Any]:
    """Options of the reader of a format, those that were given."""
    options: dict[str, Any] = {}
    if args.ground_truth is not None:
        options["ground_truth"] = args.ground_truth
    if args.schema is not None:
        options["schema"] = _schema(args.schema)
    return options


def _schema(name: str) -> Schema:
    """Built-in schema of a name, or that in a JSON file."""
    from kpwidget import schemas
    from kpwidget.schema import Schema

    if name in schemas.names():
        return schemas.get(name)
    if not Path(name).is_file():
        raise ValueError(
            f"--schema {name}: expected a built-in schema ({', '.join(schemas.names())}), a JSON "
            "file with the fields of a COCO category or a metainfo file of MMPose (.py), and there "
            "is no such file"
        )
    if name.endswith(".py"):
        from kpwidget.formats.mmpose import read_metainfo

        return read_metainfo(name)
    return Schema.from_metadata(Path(name))


def _refuse_existing(args: argparse.Namespace, *targets: Path) -> None:
    """Raise FileExistsError naming every target that is there."""
    there = [path for path in targets if path.exists() and not _is_empty_folder(path)]
    if there and not args.overwrite:
        raise FileExistsError(
            f"{', '.join(map(str, there))}: exists already; choose another name, or pass "
            "--overwrite"
        )


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _n_bytes(path: Path) -> int:
    from kpwidget.dataset.image_files import IMAGE_SUFFIXES

    if not path.is_dir():
        return path.stat().st_size
    return sum(
        found.stat().st_size
        for found in path.rglob("*")
        if found.is_file() and found.suffix.lower() not in IMAGE_SUFFIXES
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _N_NAMES:,} more" if len(names) > _N_NAMES else ""
    return ", ".join(map(repr, names[:_N_NAMES])) + more


# --- info ---------------------------------------------------------------------------------------


def _info(args: argparse.Namespace, said: _Said) -> int:
    import numpy as np

    if args.file.suffix == ".py":
        return _info_of_metainfo(args.file, said)
    dataset, format = _read(args, args.file)
    table = dataset._table
    rows = table.live_rows()
    missing = _missing_images(dataset)
    n_of_category = table.n_of_categories()
    visibilities = np.zeros(3, np.int64)
    for index in range(len(dataset.categories)):
        flags = table.keypoints_of(index, rows)[..., 2].astype(np.int64)
        visibilities += np.bincount(flags.ravel(), minlength=3)
    unlabeled, occluded, visible = visibilities.tolist()
    unknown = _unknown_fields(dataset)
    layout = dataset.layout
    n_other = len(layout.images) + len(layout.categories) + len(layout.annotations)
    n_with = len(np.unique(table.column("image", rows)))
    n_bytes, n_images = _n_bytes(args.file), len(dataset)
    folder = _folder_with(missing, args.file)
    hint = "" if folder is None else f"; {folder} has such files: pass --images {folder}"
    said.values = {
        "path": os.fspath(args.file),
        "format": format,
        "n_bytes": n_bytes,
        "images": {
            "n": n_images,
            "found": n_images - len(missing),
            "missing": missing,
            "folder": None if folder is None else os.fspath(folder),
        },
        "categories": [
            {
                "id": category.id,
                "name": category.name,
                "keypoints": list(category.keypoints),
                "n_edges": len(category.schema.edges),
                "n_instances": n,
            }
            for category, n in zip(dataset.categories, n_of_category, strict=True)
        ],
        "instances": {"n": len(rows), "n_images": n_with},
        "keypoints": {"visible": visible, "occluded": occluded, "unlabeled": unlabeled},
        "unknown_fields": unknown,
        "other_records": n_other,
        "skipped": list(dataset.skipped),
    }
    found = f"{n_images:,} ({n_images - len(missing):,} found, {len(missing):,} missing)"
    said.rows(
        [
            ("file", f"{args.file} ({count(n_bytes, 'byte')})"),
            ("format", format),
            ("images", found + (f": no file {_listed(missing)}{hint}" if missing else "")),
            ("instances", f"{len(rows):,} in {count(n_with, 'image')}"),
            *_category_lines(dataset.categories, n_of_category),
            ("keypoints", f"{visible:,} visible, {occluded:,} occluded, {unlabeled:,} unlabeled"),
            *(
                ("unknown fields", f"{kind}: " + ", ".join(f"{k} ({n:,})" for k, n in of.items()))
                for kind, of in unknown.items()
            ),
            ("kept as it is", f"{count(n_other, 'other record')}" if n_other else ""),
            ("left out", count(len(dataset.skipped), "bad record") if dataset.skipped else ""),
        ]
    )
    return OK


def _category_lines(
    categories: Sequence[Category], counts: Sequence[int]
) -> Iterator[tuple[str, str]]:
    """Lines about categories: one for each, or for many with the same keypoints one for all."""
    alike: dict[tuple[object, ...], list[tuple[Category, int]]] = {}
    for category, n in zip(categories, counts, strict=True):
        same = (category.keypoints, category.schema.edges.tobytes())
        alike.setdefault(same, []).append((category, n))
    for group in alike.values():
        category, n = group[0]
        points = (
            f"{count(category.n_keypoints, 'keypoint')}, "
            f"{count(len(category.schema.edges), 'edge')}: "
            + ", ".join(category.keypoints[:20])
            + (", ..." if category.n_keypoints > 20 else "")
        )
        if len(group) <= _N_NAMES:
            for category, n in group:
                instances = count(n, "instance")
                yield "category", f"{category.name!r} (id {category.id}): {instances}, {points}"
            continue
        used = sorted((of for of in group if of[1]), key=lambda of: -of[1])
        named = ", ".join(f"{category.name!r} {n:,}" for category, n in used[:20])
        more = f" and {len(used) - 20} more" if len(used) > 20 else ""
        of = f"{len(used)} of them with instances" + (f": {named}{more}" if used else "")
        yield "categories", f"{len(group)} with the same {points}; {of}"


def _info_of_metainfo(path: Path, said: _Said) -> int:
    """Tell of a metainfo file of MMPose, which is a schema and no labels."""
    from kpwidget.formats.mmpose import read_metainfo

    schema = read_metainfo(path)
    n_bytes = path.stat().st_size
    said.values = {
        "path": os.fspath(path),
        "format": "mmpose-metainfo",
        "n_bytes": n_bytes,
        "schema": schema.to_metadata(),
    }
    pairs = ", ".join(" and ".join(pair) for pair in schema.flip_pairs)
    said.rows(
        [
            ("file", f"{path} ({count(n_bytes, 'byte')})"),
            ("format", "a metainfo file of MMPose: a schema, no labels"),
            ("name", repr(schema.name)),
            ("keypoints", f"{schema.n_keypoints:,}: {', '.join(schema.keypoints)}"),
            ("edges", f"{len(schema.edges):,}"),
            ("flip pairs", pairs or "none"),
        ]
    )
    return OK


def _missing_images(dataset: Dataset) -> list[str]:
    """File names of the images that have no file."""
    from tqdm.auto import tqdm

    from kpwidget.dataset.findings import is_missing

    progress = tqdm(dataset.images, "look for images", unit="image", delay=1.0, leave=False)
    return [image.file_name for image in progress if is_missing(image)]


def _folder_with(missing: Sequence[str], path: Path) -> Path | None:
    """Folder beside a labels file, or beside its folder, that has some of the missing images.

    A few names and folders are tried, for it is no more than a hint.
    """
    own = path if path.is_dir() else path.parent
    names = [name for name in missing[:_N_NAMES] if ".." not in Path(name).parts]
    for beside in (own, own.parent):
        try:
            folders = sorted(entry for entry in beside.iterdir() if entry.is_dir())
        except OSError:  # it may not be read
            continue
        for folder in [beside, *folders[:_N_FOLDERS]]:
            if any((folder / name).is_file() for name in names):
                return folder
    return None


def _unknown_fields(dataset: Dataset) -> dict[str, dict[str, int]]:
    """How often each field without a place of its own stands in the records, by kind of record."""
    from tqdm.auto import tqdm

    instances = tqdm(dataset.instances, "look at fields", unit="instance", delay=1.0, leave=False)
    found = {
        "top level": Counter(dataset.extra.keys()),
        "images": Counter(key for image in dataset.images for key in image.extra),
        "categories": Counter(key for c in dataset.categories for key in c.extra),
        "annotations": Counter(key for instance in instances for key in instance.extra),
    }
    return {kind: dict(counts.most_common()) for kind, counts in found.items() if counts}


# --- convert ------------------------------------------------------------------------------------


def _convert(args: argparse.Namespace, said: _Said) -> int:
    from kpwidget import formats

    if args.target.exists() and args.target.samefile(args.source):
        raise ValueError(f"{args.target}: is the source; choose another name")
    _refuse_existing(args, args.target)
    dataset, format = _read(args, args.source)
    options: dict[str, Any] = {}
    if args.split is not None:
        row = formats._named(args.to)
        if "split" not in formats._own_options(formats._function(row, row.writer)):
            raise ValueError(
                f"format {args.to!r} has no parts; kpwidget split writes a file for each"
            )
        options |= {"split": _with_lists("--split", args.split), "seed": args.seed}
        if args.group is not None:
            options["group"] = args.group
    if args.image_files is not None:
        options["images"] = args.image_files
    report = formats.write(
        dataset,
        args.target,
        format=args.to,
        allow_loss=args.allow_loss,
        overwrite=args.overwrite,
        **options,
    )
    report = replace(report, notes=(*report.notes, *_notes_on_names(args, format)))
    said.values = {
        "source": os.fspath(args.source),
        "source_format": format,
        "path": os.fspath(report.path),
        "format": report.format,
        "n_images": report.n_images,
        "n_instances": report.n_instances,
        "n_new_ids": report.n_new_ids,
        "notes": list(map(_for_shell, report.notes)),
        "losses": _losses(report.losses),
        "skipped": list(dataset.skipped),
    }
    said.line(_for_shell(str(report)))
    return OK


def _notes_on_names(args: argparse.Namespace, format: str) -> Iterator[str]:
    """Where the image files are to be looked for, if that is not beside what was written."""
    from kpwidget import formats

    rows = formats.all_formats()
    if not rows[format].is_folder or rows[args.to].is_folder:
        return
    folder = args.source if args.source.is_dir() else args.source.parent
    if folder.resolve() != args.target.parent.resolve():
        yield (
            f"file names of images are relative to {folder}: pass --images {folder} with "
            f"{args.target}"
        )


def _with_lists(option: str, parts: Mapping[str, float | str]) -> dict[str, Any]:
    """Return the parts, with the names in a file for ``@file``."""
    found: dict[str, Any] = {}
    for name, value in parts.items():
        if isinstance(value, str) and value.startswith("@"):
            try:
                lines = Path(value[1:]).read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                raise ValueError(
                    f"{option} {name}={value}: expected @FILE, a text file with the file name of "
                    f"one image per line; {value[1:]!r} cannot be read ({reason})"
                ) from error
            found[name] = [line.strip() for line in lines if line.strip()]
        else:
            found[name] = value
    return found


# --- check --------------------------------------------------------------------------------------


def _check(args: argparse.Namespace, said: _Said) -> int:
    from kpwidget.schema import FormatError

    problems: list[Problem] = []
    notes: list[Problem] = []
    findings: list[dict[str, Any]] = []
    n_images = n_instances = 0
    format = args.format
    try:
        with warnings.catch_warnings():
            # What is left out is listed as problems below.
            left_out = r"(?s).*(bad (record|entr)\w* left out|: left out, )"
            warnings.filterwarnings("ignore", message=left_out)
            dataset, format = _read(args, args.file, on_error="skip")
    except FormatError as error:
        of_file = f"{args.file}: "
        problems += [_reading_problem(text.removeprefix(of_file)) for text in error.problems]
    else:
        n_images, n_instances = len(dataset), len(dataset.instances)
        problems += [_reading_problem(text) for text in dataset.skipped]
        if args.images:
            problems += _image_problems(dataset)
        for finding in dataset.validate():
            (notes if finding.level == "note" else problems).append(finding)
        if args.quality:
            from kpwidget import quality, store

            journal = store.read_decisions(dataset)
            if len(dataset.decisions):
                n_taken = count(len(dataset.decisions), "decision")
                said.line(f"{n_taken} on findings taken from {journal}")
            # What the quality checks tell too is told once, with its severity.
            problems = [p for p in problems if p.kind not in quality.KINDS_OF_VALIDATE]
            rows = quality.check(dataset).to_dict("records")
            findings = [{str(name): value for name, value in row.items()} for row in rows]
    said.values = {
        "path": os.fspath(args.file),
        "format": format,
        "n_images": n_images,
        "n_instances": n_instances,
        "problems": [asdict(problem) for problem in problems],
        "notes": [asdict(note) for note in notes],
    }
    if args.quality:
        # NaN is no JSON.
        said.values["findings"] = [
            {name: None if value != value else value for name, value in finding.items()}
            for finding in findings
        ]
    lines = [f"{_place_of(problem)}: {problem.what}" for problem in problems]
    lines += [_in_a_line(finding) for finding in findings]
    shown = lines[: args.limit] if args.limit > 0 else lines
    for line in shown:
        said.line(line)
    if len(shown) < len(lines):
        said.line(f"... and {len(lines) - len(shown):,} more (--limit 0 shows all)")
    for kind, n in Counter(problem.kind for problem in problems).most_common():
        said.line(f"problem: {count(n, kind)}")
    for kind, n in Counter(note.kind for note in notes).most_common():
        said.line(f"note: {count(n, kind)}")
    severities = Counter(finding["severity"] for finding in findings)
    parts = [count(n_images, "image"), count(n_instances, "instance")]
    if problems or not severities["error"]:
        parts.append(count(len(problems), "problem") if problems else "no problem")
    parts += [count(n, severity) for severity, n in severities.items() if n]
    said.line(f"{args.file}: {', '.join(parts)}")
    return FINDINGS if problems or severities["error"] else OK


def _in_a_line(finding: Mapping[str, Any]) -> str:
    """Return a finding of the quality checks as a line."""
    from kpwidget.dataset.findings import Problem

    where = Problem(finding["image"] or "", finding["instance"], finding["keypoint"], "")
    place = f" {_place_of(where)}:" if where != Problem("", None, None, "") else ""
    return f"{finding['severity']} ({finding['check']}):{place} {finding['reason']}"


def _place_of(problem: Problem) -> str:
    """Where a problem is, in words."""
    parts = (problem.image, problem.instance, problem.keypoint)
    named = zip(("image", "instance", "keypoint"), parts, strict=True)
    return ", ".join(f"{noun} {name!r}" for noun, name in named if name) or "reading"


def _reading_problem(what: str) -> Problem:
    from kpwidget.dataset.findings import Problem

    return Problem("", None, None, what, kind="error on reading")


def _image_problems(dataset: Dataset) -> list[Problem]:
    """Image files that are missing, cannot be read or have another size than recorded."""
    from tqdm.auto import tqdm

    from kpwidget.dataset.findings import Problem
    from kpwidget.images import ImageError

    found: list[Problem] = []

    def find(name: str, kind: str, what: str) -> None:
        found.append(Problem(name, None, None, what, kind=kind))

    missing = set(_missing_images(dataset))
    for name in sorted(missing):
        find(name, "image without a file", "there is no such file")
    for image in tqdm(dataset.images, "look at images", unit="image", delay=1.0, leave=False):
        if image.file_name in missing:
            continue
        recorded = image._state.recorded_size
        try:
            width, height = image.source.size
        except ImageError as error:
            find(image.file_name, "image that cannot be read", str(error))
            continue
        if recorded is not None and recorded != (width, height):
            find(
                image.file_name,
                "image of another size",
                f"the labels say {recorded[0]} x {recorded[1]} px, the file is "
                f"{width} x {height} px",
            )
    return found


# --- roundtrip ----------------------------------------------------------------------------------


def _report(args: argparse.Namespace, said: _Said) -> int:
    if args.predictions is not None and not args.quality:
        raise ValueError("--predictions goes with --quality: it says which images to label next")
    dataset, _ = _read(args, args.source)
    options: dict[str, Any] = {"title": args.title, "n_examples": args.examples}
    if args.quality:
        from kpwidget import quality

        if args.predictions is not None:
            options["predictions"] = _predictions(args.predictions, dataset)
        path = quality.report(dataset, args.output, **options)
    else:
        from kpwidget.reports import report

        path = report(dataset, args.output, **options)
    said.values = {"path": os.fspath(path), "n_bytes": path.stat().st_size}
    said.line(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
    return OK


def _predictions(path: Path, dataset: Dataset) -> Dataset:
    """Dataset of predictions on the images of another, in any format."""
    from kpwidget import formats

    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    format = formats.detect_format(path)
    options: dict[str, Any] = {"ground_truth": dataset} if format == "coco-results" else {}
    return formats.read(path, format=format, **options)


def _roundtrip(args: argparse.Namespace, said: _Said) -> int:
    from kpwidget.formats.roundtrip import roundtrip

    if not args.file.exists():
        raise FileNotFoundError(f"{args.file}: there is no such file or folder")
    options = _reading_options(args)
    report = roundtrip(
        args.file,
        args.format,
        args.to,
        images=args.images,
        on_error=args.on_error,
        **options,
    )
    said.values = report.to_dict()
    said.line(report.table() if args.all else _for_shell(str(report)))
    return OK if report else FINDINGS


# --- merge --------------------------------------------------------------------------------------


def _merge(args: argparse.Namespace, said: _Said) -> int:
    from kpwidget import formats

    if len(args.files) < 2:
        raise ValueError("give two files or more to merge")
    _refuse_existing(args, args.output)
    first, *others = args.files
    dataset, _ = _read(args, first)
    merged: list[dict[str, Any]] = []
    n_conflicts = 0
    rename = dict(args.rename)
    unused = set(rename)
    for path in others:
        other, _ = _read(args, path)
        names = {category.name for category in other.categories}
        unused -= names
        report = dataset.merge(
            other,
            match=args.match,
            on_duplicate=args.on_duplicate,
            on_conflict=args.on_conflict,
            tolerance=args.tolerance,
            rename={old: new for old, new in rename.items() if old in names},
        )
        notes = list(map(_for_shell, report.notes))
        merged.append({"path": os.fspath(path), **report.to_dict(), "notes": notes})
        n_conflicts += sum(conflict.added_as is None for conflict in report.conflicts)
        said.line(f"{path}:")
        said.line("\n".join(f"  {line}" for line in _for_shell(str(report)).split("\n")))
    if unused:
        raise ValueError(
            f"--rename: no file after the first has the category {_listed(sorted(unused))}; "
            "nothing was written"
        )
    written = formats.write(
        dataset, args.output, format=args.to, allow_loss=args.allow_loss, overwrite=args.overwrite
    )
    said.values = {
        "path": os.fspath(args.output),
        "format": written.format,
        "n_images": written.n_images,
        "n_instances": written.n_instances,
        "merged": merged,
    }
    said.line(_for_shell(str(written)))
    return FINDINGS if n_conflicts else OK


# --- split --------------------------------------------------------------------------------------


def _split(args: argparse.Namespace, said: _Said) -> int:
    from kpwidget import formats

    dataset, format = _read(args, args.file)
    parts = dataset.split(_with_lists("--parts", args.parts), seed=args.seed, group=args.group)
    row = formats.all_formats()[format]
    ending = "" if row.is_folder else args.file.suffix or row.extensions[0]
    targets = {name: args.output / f"{name}{ending}" for name in parts}
    _refuse_existing(args, *targets.values())
    args.output.mkdir(parents=True, exist_ok=True)
    written = []
    for name, part in parts.items():
        # The file has hardly anything that its own format cannot hold: what is said to be lost,
        # such as ids in a format without any, was mostly made when it was read.
        report = formats.write(
            part, targets[name], format=format, allow_loss=True, overwrite=args.overwrite
        )
        written.append(
            {
                "part": name,
                "path": os.fspath(report.path),
                "n_images": report.n_images,
                "n_instances": report.n_instances,
                "losses": _losses(report.losses),
            }
        )
        said.line(_for_shell(str(report)))
    said.values = {"path": os.fspath(args.file), "format": format, "parts": written}
    return OK
