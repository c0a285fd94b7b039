"""The ``kpwidget`` command.

Exit codes: 0 all well, 1 there are findings, 2 it could not run.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import sys
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from kpwidget._version import __version__
from kpwidget.commands import add_commands

FIRST_NOTEBOOK = "01_quickstart.ipynb"
DEMO_FOLDER = "kpwidget-demo"
DEMO_PACKAGES = {"jupyterlab": "jupyterlab", "skimage": "scikit-image"}
"""Import name and distribution name of what ``kpwidget[demo]`` adds."""

FRONT_ENDS = {
    "@jupyter-widgets/jupyterlab-manager": "jupyterlab_widgets",
    "anywidget": "anywidget",
    "ipycanvas": "ipycanvas",
}
"""Name of the JupyterLab extension, and the distribution that brings it."""


class CannotRun(Exception):
    """The command cannot do its work; the message says why and what to do."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the command's name; those of the process when None.

    Returns
    -------
    int
        0 all well, 1 there are findings, 2 it could not run.
    """
    parser = argparse.ArgumentParser(
        prog="kpwidget",
        description="Label keypoints and look at keypoint annotations in Jupyter notebooks.",
        epilog="Exit codes: 0 all well, 1 there are findings, 2 it could not run.",
    )
    parser.add_argument("--version", action="version", version=f"kpwidget {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    demo = commands.add_parser(
        "demo",
        help="open the example notebooks in JupyterLab",
        description="Open the example notebooks in JupyterLab, at the quickstart. "
        f"They are copied to ./{DEMO_FOLDER} first, in a checkout to its top.",
    )
    demo.add_argument(
        "--dir",
        type=Path,
        default=None,
        metavar="DIR",
        help="copy the notebooks to this folder and work there; its files are never overwritten",
    )
    demo.add_argument(
        "--port", type=int, default=None, help="port (default: 8888 or the next free)"
    )
    demo.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    demo.set_defaults(run=lambda args: run_demo(args.dir, args.port, not args.no_browser))

    doctor = commands.add_parser(
        "doctor",
        help="tell what is missing where for the widgets to show",
        description="Tell what is missing where for the widgets to show. Run it in the environment "
        "of the notebook's kernel: in a cell, !kpwidget doctor",
    )
    doctor.add_argument("--json", action="store_true", help="machine-readable output")
    doctor.set_defaults(run=lambda args: run_doctor(as_json=args.json))

    add_commands(commands)

    args = parser.parse_args(argv)
    try:
        return int(args.run(args))
    except CannotRun as error:
        sys.stderr.write(f"kpwidget: {error}\n")
        return 2


# --- demo ---------------------------------------------------------------------------------------


def run_demo(folder: Path | None, port: int | None, open_browser: bool) -> int:
    """Serve the example notebooks with JupyterLab until it is stopped.

    Parameters
    ----------
    folder : Path or None
        Where to copy the notebooks to; None: see `prepare_notebooks`.
    port : int or None
        Port on 127.0.0.1; None takes 8888 or the next free one.
    open_browser : bool
        Whether to open ``$BROWSER`` or the default browser at the first notebook.

    Returns
    -------
    int
        0 once the server has been stopped.
    """
    missing = [dist for name, dist in DEMO_PACKAGES.items() if not importlib.util.find_spec(name)]
    if missing:
        raise CannotRun(
            f"the demo needs {' and '.join(missing)}, not installed for {sys.executable}. Run\n"
            f'    {sys.executable} -m pip install "kpwidget[demo]"'
        )
    where = prepare_notebooks(folder)
    serve(where, port, open_browser)
    return 0


def prepare_notebooks(folder: Path | None) -> Path:
    """Return the folder of notebooks to open, after copying them there.

    Files that are there already are kept as they are, and named on standard output.

    Parameters
    ----------
    folder : Path or None
        None: ``kpwidget-demo`` in the current folder, of a checkout at its top, where git ignores
        it: who works in a notebook must not change the one in ``notebooks/``.

    Returns
    -------
    Path

    Raises
    ------
    CannotRun
        If there are no notebooks to copy, or they cannot be written there.
    """
    package = Path(__file__).resolve().parent
    checkout = package.parent / "notebooks"
    in_checkout = (checkout / FIRST_NOTEBOOK).is_file() and (
        package.parent / "pyproject.toml"
    ).is_file()
    source = checkout if in_checkout else package / "notebooks"
    notebooks = sorted(source.glob("*.ipynb"))
    if FIRST_NOTEBOOK not in [notebook.name for notebook in notebooks]:
        raise CannotRun(
            f"no {FIRST_NOTEBOOK} in {source}: this installation is incomplete. Run\n"
            f'    {sys.executable} -m pip install --force-reinstall --no-deps "kpwidget"'
        )
    home = package.parent if in_checkout else Path()
    target = (folder or home / DEMO_FOLDER).resolve()
    copied, kept = [], []
    try:
        target.mkdir(parents=True, exist_ok=True)
        for notebook in notebooks:
            if (target / notebook.name).exists():
                kept.append(notebook.name)
            else:
                shutil.copyfile(notebook, target / notebook.name)
                copied.append(notebook.name)
    except OSError as error:
        raise CannotRun(
            f"cannot put the notebooks into {target}: {error}. Choose a folder with --dir DIR"
        ) from error
    if copied:
        sys.stdout.write(f"copied to {target}: {', '.join(copied)}\n")
    if kept:
        sys.stdout.write(f"kept as they are in {target}: {', '.join(kept)}\n")
    return target


def serve(folder: Path, port: int | None, open_browser: bool) -> None:
    """Run JupyterLab in `folder` in this process, on 127.0.0.1, until it is stopped."""
    from jupyterlab.labapp import LabApp

    argv = [
        f"--ServerApp.root_dir={folder}",
        "--ServerApp.ip=127.0.0.1",
        f"--LabApp.default_url=/lab/tree/{FIRST_NOTEBOOK}",
        "--LabApp.news_url=None",  # no question about news over the notebook
        # Looking for language servers is of no use here, and delays stopping by seconds.
        "--ServerApp.jpserver_extensions={'jupyter_lsp': False}",
        # Jupyter's own way hands the browser a file:// page, which sandboxed browsers cannot
        # read, and takes a text browser where there is no display.
        "--no-browser",
    ]
    if port is not None:
        argv += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        argv.append("--allow-root")
    server = LabApp.initialize_server(argv)
    # Jupyter asks before it stops in a terminal, and elsewhere breaks off without cleaning up,
    # which can hang for ever in a destructor of ZeroMQ. One Ctrl+C stops this one in good order.
    signal.signal(signal.SIGINT, lambda number, frame: server.stop(from_signal=True))
    url = f"{server.connection_url.rstrip('/')}/lab/tree/{FIRST_NOTEBOOK}"
    if server.identity_provider.token:
        url += f"?token={server.identity_provider.token}"
    # The loop takes callbacks in order, and has been told to bind the port already. A thread,
    # because a browser may block until it is closed.
    announcer = threading.Thread(target=announce, args=(url, open_browser), daemon=True)
    server.io_loop.add_callback(announcer.start)
    server.start()


def announce(url: str, open_browser: bool) -> None:
    """Open a page of the server in the browser if that is wanted, and say where it is."""
    if open_browser and has_browser() and webbrowser.open(url):
        sys.stdout.write(f"\nOpened the quickstart in the browser; its address is\n    {url}\n")
    elif open_browser:
        sys.stdout.write(f"\nNo browser could be opened. Open this address yourself:\n    {url}\n")
    else:
        sys.stdout.write(f"\nOpen this address in a browser:\n    {url}\n")
    sys.stdout.write("Stop with Ctrl+C.\n\n")
    sys.stdout.flush()


def has_browser() -> bool:
    """Whether there is a browser to try: one that was named, or a desktop to show one on.

    Without a display Python would fall back to a text browser in the terminal of the server.
    """
    if os.environ.get("BROWSER"):
        return True
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


# --- doctor -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
        What was looked at.
    status : {"ok", "note", "problem"}
        "note" is worth knowing and breaks nothing; "problem" makes the command return 1.
    found : str
        What is there.
    hint : str
        What to do about it; empty where nothing needs doing.
    """

    name: str
    status: Literal["ok", "note", "problem"]
    found: str
    hint: str = ""


def run_doctor(*, as_json: bool) -> int:
    """Print what was found, and return 1 if there is a problem, else 0."""
    checks = [
        *check_packages(),
        check_bundle(),
        *check_front_ends(Path(sys.prefix), find_labextensions(labextension_paths())),
        *check_servers(),
        check_subshells(),
        check_demo(),
        check_browser(),
    ]
    problems = [check for check in checks if check.status == "problem"]
    if as_json:
        report = {
            "version": __version__,
            "ok": not problems,
            "checks": [dataclasses.asdict(check) for check in checks],
        }
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            sys.stdout.write(f"{check.status:<8} {check.name:<{width}}  {check.found}\n")
            for line in check.hint.splitlines():
                sys.stdout.write(f"{'':<8} {'':<{width}}  -> {line}\n")
        counted = {0: "No problem found.", 1: "1 problem found."}
        sys.stdout.write(counted.get(len(problems), f"{len(problems)} problems found.") + "\n")
    return 1 if problems else 0


def check_packages() -> Iterator[Check]:
    """Python, kpwidget, and each package it needs: the version, and whether it is one that fits."""
    from packaging.requirements import Requirement

    yield Check("Python", "ok", f"{sys.version.split()[0]}, {sys.executable}")
    yield Check("kpwidget", "ok", f"{__version__}, {Path(__file__).resolve().parent}")
    try:
        lines = importlib.metadata.requires("kpwidget") or []
    except importlib.metadata.PackageNotFoundError:
        hint = f'{sys.executable} -m pip install -e ".[demo]"   (in the checkout)'
        yield Check("installation", "problem", "kpwidget is imported but not installed", hint)
        return
    for requirement in map(Requirement, lines):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        install = f'{sys.executable} -m pip install "{requirement}"'
        wanted = f"needs {requirement.specifier}"
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(requirement.name, "problem", f"not installed, {wanted}", install)
            continue
        if requirement.specifier.contains(version, prereleases=True):
            yield Check(requirement.name, "ok", version)
        else:
            yield Check(requirement.name, "problem", f"{version}, {wanted}", install)


def check_bundle() -> Check:
    """The JavaScript and CSS of the widget, which a checkout has only once they are built."""
    static = Path(__file__).resolve().parent / "widget" / "static"
    sizes = {}
    for name in ("widget.js", "widget.css"):
        path = static / name
        sizes[name] = path.stat().st_size if path.is_file() else 0
    missing = [name for name, size in sizes.items() if size == 0]
    if missing:
        hint = (
            f"{sys.executable} -m pip install --force-reinstall --no-deps kpwidget\n"
            "in a checkout: npm ci && npm run build, in js/"
        )
        return Check("widget bundle", "problem", f"no {', '.join(missing)} in {static}", hint)
    found = ", ".join(f"{name} {size / 1000:.1f} kB" for name, size in sizes.items())
    return Check("widget bundle", "ok", found)


def labextension_paths(prefix: Path | None = None) -> list[Path]:
    """Folders in which JupyterLab looks for extensions.

    Parameters
    ----------
    prefix : Path, optional
        The environment that JupyterLab runs in; this one when None.
    """
    try:
        from jupyter_core.paths import SYSTEM_JUPYTER_PATH, jupyter_data_dir, jupyter_path
    except ModuleNotFoundError:
        return [(prefix or Path(sys.prefix)) / "share" / "jupyter" / "labextensions"]
    if prefix is None:
        return [Path(folder) for folder in jupyter_path("labextensions")]
    roots = [prefix / "share" / "jupyter", Path(jupyter_data_dir())]
    roots += [Path(folder) for folder in SYSTEM_JUPYTER_PATH]
    return [root / "labextensions" for root in roots]


def find_labextensions(folders: Sequence[Path]) -> dict[str, str]:
    """Version of each needed front end found in `folders`; the first folder wins."""
    found: dict[str, str] = {}
    for folder in folders:
        for name in FRONT_ENDS:
            package = folder / name / "package.json"
            if name not in found and package.is_file():
                found[name] = str(json.loads(package.read_text(encoding="utf-8"))["version"])
    return found


def check_front_ends(prefix: Path, found: dict[str, str]) -> Iterator[Check]:
    """Whether an environment has the browser halves of the widget libraries, of a fitting version.

    Parameters
    ----------
    prefix : Path
        The environment, for the messages.
    found : dict of str to str
        Version by extension name, as from `find_labextensions`.
    """
    for name, distribution in FRONT_ENDS.items():
        what = f"front end {name}"
        try:
            here = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            here = ""
        pin = f"{distribution}=={here}" if here else distribution
        install = f'{prefix / "bin" / "python"} -m pip install "{pin}"'
        if name not in found:
            hint = (
                f"{install}, and reload the page\n"
                "if Jupyter runs in another environment than this kernel (a JupyterHub), "
                "install it in that one"
            )
            yield Check(what, "problem", f"not found for {prefix}", hint)
        elif here and distribution == name and minor(found[name]) != minor(here):
            # Both name their halves alike, and the halves speak with each other.
            told = f"{found[name]} in {prefix}, but the kernel has {distribution} {here}"
            yield Check(what, "problem", told, f"{install}, and reload the page")
        else:
            yield Check(what, "ok", found[name])


def minor(version: str) -> tuple[str, ...]:
    """Major and minor part of a version."""
    return tuple(version.split(".")[:2])


def check_servers() -> Iterator[Check]:
    """The front ends of the running Jupyter servers that live in another environment than this."""
    here = Path(sys.prefix).resolve()
    elsewhere = {prefix for prefix in server_prefixes() if prefix.resolve() != here}
    for prefix in sorted(elsewhere):
        checks = check_front_ends(prefix, find_labextensions(labextension_paths(prefix)))
        for check in checks:
            if check.status == "problem":
                yield dataclasses.replace(check, name=f"{check.name} (Jupyter server)")
        yield Check(
            "Jupyter server",
            "note",
            f"one runs in {prefix}, this kernel in {here}",
            "the front ends must be in the server's environment, with the kernel's versions",
        )


def server_prefixes() -> set[Path]:
    """Environments of this user's running Jupyter servers, as far as the system tells.

    Only Linux tells (``/proc``); elsewhere the set is empty.
    """
    pids = set()
    if os.environ.get("JPY_PARENT_PID", "").isdigit():
        pids.add(int(os.environ["JPY_PARENT_PID"]))  # we run in a cell: the server that started it
    # Without Jupyter here, the server that started the cell is all that can be known.
    with contextlib.suppress(ModuleNotFoundError):
        from jupyter_core.paths import jupyter_runtime_dir

        running = Path(jupyter_runtime_dir()).glob("jpserver-*.json")
        pids |= {int(p.stem.split("-")[1]) for p in running if p.stem.split("-")[1].isdigit()}
    prefixes = set()
    for pid in pids:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # ended, another user's, or not Linux
        if not any("jupyter" in part for part in command):
            continue  # the number was given to another program since
        for part in command[:2]:
            path = Path(part)
            if path.is_absolute() and path.parent.name == "bin":
                prefixes.add(path.parent.parent)
                break
    return prefixes


def check_subshells() -> Check:
    """Whether the kernel can take edits while a cell runs."""
    try:
        version = importlib.metadata.version("ipykernel")
    except importlib.metadata.PackageNotFoundError:
        hint = f'{sys.executable} -m pip install "kpwidget[demo]"'
        return Check("kernel", "note", "ipykernel is not installed: no notebook can run here", hint)
    if int(version.split(".")[0]) >= 7:
        found = f"ipykernel {version}: edits are taken also while a cell runs (JupyterLab 4.4+)"
        return Check("kernel", "ok", found)
    found = f"ipykernel {version}: edits wait until the running cell is done; none is lost"
    return Check("kernel", "note", found, f'{sys.executable} -m pip install "ipykernel>=7"')


def check_demo() -> Check:
    """Whether ``kpwidget demo`` can run."""
    missing = [dist for name, dist in DEMO_PACKAGES.items() if not importlib.util.find_spec(name)]
    if not missing:
        return Check("demo", "ok", "can run")
    hint = f'{sys.executable} -m pip install "kpwidget[demo]"'
    return Check("demo", "note", f"needs {' and '.join(missing)}", hint)


def check_browser() -> Check:
    """What ``kpwidget demo`` would open."""
    if os.environ.get("BROWSER"):
        return Check("browser", "ok", f"$BROWSER: {os.environ['BROWSER']}")
    if has_browser():
        return Check("browser", "ok", "the default one")
    found = "no display and no $BROWSER: kpwidget demo prints the address instead"
    return Check("browser", "note", found)


if __name__ == "__main__":
    raise SystemExit(main())
