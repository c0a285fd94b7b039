"""What may import what, by reading the imports and by really importing."""

from __future__ import annotations

import ast
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kpwidget

PACKAGE = Path(kpwidget.__file__).resolve().parent

# From the bottom up. A module imports from lower layers only.
LAYERS = [
    {"_version"},
    {"schema", "schemas", "geometry", "images", "words"},
    {"history", "dataset", "metrics"},
    {"journal", "formats", "quality", "plotting", "samples"},
    {"compaction"},
    {"store", "page"},
    {"reports", "quality_report"},
    {"commands"},
    {"widget", "cli"},
    {"__main__"},
]
# In these layers the modules do not know one another either.
STRANGERS = [LAYERS[3], LAYERS[8]]

# Methods that reach up, each importing inside its body.
REACHES_UP = {
    ("schema", "plotting"),  # Schema.plot, Schema._repr_png_
    ("dataset", "store"),  # Dataset.save
    ("quality", "quality_report"),  # quality.report
    ("dataset", "plotting"),  # ImageInfo._repr_png_, Instance._repr_png_
}

# Who may import these at all, also inside a function.
ONLY_IN = {
    "ipywidgets": {"widget"},
    "ipycanvas": {"widget"},
    "anywidget": {"widget"},
    # samples: only for the photograph it ships; page: figures outside of pyplot
    "matplotlib": {"plotting", "samples", "page"},
    "skimage": {"samples"},
    "jupyterlab": {"cli"},
    "jupyter_core": {"cli"},
}
# Never while a module is being imported, except where the module is about it.
LAZY = {"pandas": set(), "scipy": set(), "matplotlib": {"plotting"}, "skimage": set()}

PUBLIC = set(kpwidget.__all__) - {"__version__"}


def modules() -> dict[str, Path]:
    """Every module of the package by dotted name, tests and ``__init__`` of the top left out."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        if parts:
            found[".".join(parts)] = path
    return found


def imports(path: Path, module: str) -> Iterator[tuple[str, bool]]:
    """(full name imported, whether it happens when the module is imported), types left out."""
    package = module if path.stem == "__init__" else module.rpartition(".")[0]

    def walk(node: ast.AST, at_import: bool) -> Iterator[tuple[str, bool]]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, at_import
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = f"kpwidget.{package}".rstrip(".").split(".")
                above = above[: len(above) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            if base == "kpwidget":
                yield from ((f"kpwidget.{alias.name}", at_import) for alias in node.names)
            else:
                yield base, at_import
        elif (
            isinstance(node, ast.If)
            and ast.unparse(node.test).endswith("TYPE_CHECKING")
            and (not isinstance(node.test, ast.UnaryOp))
        ):
            for child in node.orelse:
                yield from walk(child, at_import)
        else:
            body = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from walk(child, at_import and not body)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), True)


def layer(component: str) -> int:
    """Index of the layer of a top-level module."""
    return next(i for i, names in enumerate(LAYERS) if component in names)


def run(code: str) -> str:
    """Standard output of a fresh Python."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(statement: str) -> set[str]:
    """Names in sys.modules after a statement that are not there without it."""
    code = "import json, sys\nbefore = set(sys.modules)\n{}\n" + (
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    return set(json.loads(run(code.format(statement))))


def test_every_module_stands_in_a_layer() -> None:
    components = {name.split(".")[0] for name in modules()}
    assert components - set().union(*LAYERS) == set()
    built = {"schema", "schemas", "geometry", "images", "dataset", "formats", "plotting"}
    assert built | {"samples", "store", "widget", "cli"} <= components


def test_imports_point_one_way() -> None:
    wrong, reached, seen = [], set(), 0
    for module, path in modules().items():
        source = module.split(".")[0]
        for name, at_import in imports(path, module):
            if not name.startswith("kpwidget."):
                if name == "kpwidget":
                    wrong.append(f"{module} imports the whole package")
                continue
            target = name.split(".")[1]
            if target == source:
                continue
            seen += 1
            if (source, target) in REACHES_UP and not at_import:
                reached.add((source, target))
            elif layer(target) > layer(source):
                wrong.append(f"{module} imports {name}, which is above it")
            elif any({source, target} <= strangers for strangers in STRANGERS):
                wrong.append(f"{module} imports {name}, which stands beside it")
    assert wrong == []
    assert reached == REACHES_UP, "an exception that nobody needs any more"
    assert seen >= 10


def test_libraries_are_imported_where_they_belong() -> None:
    wrong, used = [], set()
    for module, path in modules().items():
        source = module.split(".")[0]
        for name, at_import in imports(path, module):
            library = name.split(".")[0]
            used.add(library)
            if source not in ONLY_IN.get(library, {source}):
                wrong.append(f"{module} imports {library}")
            if at_import and library in LAZY and source not in LAZY[library]:
                wrong.append(f"{module} imports {library} before it is needed")
    assert wrong == []
    assert {"ipywidgets", "ipycanvas", "anywidget", "matplotlib", "pandas"} <= used


def test_the_reader_of_imports_sees_all_forms(tmp_path: Path) -> None:
    path = tmp_path / "coco.py"
    path.write_text(
        "import os.path\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import pandas\n"
        "from . import one\n"
        "from ..schema import Schema\n"
        "from kpwidget import dataset\n"
        "try:\n    import numpy\nexcept ImportError:\n    pass\n"
        "def f():\n    from kpwidget.store import save\n"
    )
    assert list(imports(path, "formats.coco")) == [
        ("os.path", True),
        ("typing", True),
        ("kpwidget.formats", True),
        ("kpwidget.schema", True),
        ("kpwidget.dataset", True),
        ("numpy", True),
        ("kpwidget.store", False),
    ]


def test_import_kpwidget_loads_nothing_else() -> None:
    loaded = loaded_by("import kpwidget")
    assert {name for name in loaded if name.startswith("kpwidget")} == {
        "kpwidget",
        "kpwidget._version",
    }
    heavy = {"numpy", "pandas", "scipy", "matplotlib", "PIL", "ipywidgets", "ipycanvas", "msgspec"}
    assert loaded & heavy == set()


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        pytest.param("schema", ["PIL", "pandas", "msgspec"], id="schema"),
        pytest.param("schemas", ["PIL", "pandas", "msgspec"], id="schemas"),
        pytest.param("geometry", ["PIL", "pandas", "msgspec"], id="geometry"),
        pytest.param("images", ["pandas"], id="images"),
        pytest.param("dataset", ["pandas"], id="dataset"),
        pytest.param("formats", ["pandas"], id="formats"),
        pytest.param("store", ["pandas"], id="store"),
        pytest.param("cli", ["numpy", "pandas"], id="cli"),
    ],
)
def test_no_widgets_and_no_plots_below(module: str, absent: list[str]) -> None:
    loaded = loaded_by(f"import kpwidget.{module}")
    assert f"kpwidget.{module}" in loaded
    never = {"ipywidgets", "ipycanvas", "anywidget", "matplotlib", "scipy", "IPython"}
    assert loaded & {*never, *absent} == set()


def test_the_widget_does_without_tables_and_plots() -> None:
    loaded = loaded_by("from kpwidget import Annotator")
    assert {"kpwidget.widget", "ipycanvas"} <= loaded
    assert loaded & {"matplotlib.pyplot", "pandas", "scipy"} == set()


@pytest.mark.parametrize("module", ["schema", "schemas", "geometry", "metrics"])
def test_the_lowest_modules_need_numpy_alone(module: str) -> None:
    run(
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        top = name.split('.')[0]\n"
        "        if top not in {*sys.stdlib_module_names, 'numpy', 'kpwidget'}:\n"
        "            raise ModuleNotFoundError(f'refused: {name}', name=name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        f"import kpwidget.{module}\n"
    )


def test_importing_changes_nothing() -> None:
    names = [f"kpwidget.{name}" for name in modules()]
    out = run(
        "import importlib, json, logging, os, sys, warnings\n"
        "import anywidget, ipycanvas, ipywidgets, matplotlib, numpy, pandas, msgspec\n"
        "def state():\n"
        "    return [repr(warnings.filters), repr(logging.root.handlers), dict(os.environ),\n"
        "            repr(dict(matplotlib.rcParams)), repr(numpy.get_printoptions()),\n"
        "            os.getcwd(), repr(sys.excepthook)]\n"
        "before = state()\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "print(json.dumps(before == state()))\n"
    )
    assert out == "true\n", "output, or a global setting, changed on import"


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_public_name_is_there(name: str) -> None:
    value = getattr(kpwidget, name)
    assert name in dir(kpwidget)
    if name in kpwidget._MODULE_OF:
        assert value.__name__ == name
    else:
        assert value is sys.modules[f"kpwidget.{name}"]


def test_type_checkers_see_what_is_there() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {
        alias.asname or alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    actual = kpwidget._MODULE_OF | dict.fromkeys(kpwidget._MODULES, "kpwidget")
    assert typed == actual
    assert set(typed) == PUBLIC


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'kpwidget' has no attribute 'Schemas'"):
        _ = kpwidget.Schemas


def test_import_costs_no_more_than_the_widget_libraries() -> None:
    def seconds(statement: str) -> float:
        code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
        return float(run(code))

    pairs = [
        (seconds("import kpwidget"), seconds("import ipywidgets, ipycanvas, numpy"))
        for _ in range(3)
    ]
    assert statistics.median(ours / theirs for ours, theirs in pairs) <= 1.5
