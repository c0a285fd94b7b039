"""Find a Chromium that the browser tests can start, or say how to get one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

#: The environment variable that names the browser to use.
BROWSER_VARIABLE = "KPWIDGET_BROWSER"

#: Names looked for on the PATH, best first.
PATH_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

#: Switches for a browser that draws in software and never calls home.
LAUNCH_ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

VERSION_SECONDS = 60.0
PLAYWRIGHT_INSTALL_SECONDS = 240.0
APT_SECONDS = 600.0

_PRINT_OWN_PATH = (
    "from playwright.sync_api import sync_playwright\n"
    "with sync_playwright() as p: print(p.chromium.executable_path)"
)


class BrowserNotFoundError(RuntimeError):
    """No Chromium was found and none could be installed."""


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _last_lines(text: str, count: int = 3) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-count:]) or "no output"


def _run(command: list[str], seconds: float) -> tuple[bool, str]:
    """Whether a command succeeded within the time, and what it said last."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"not done after {seconds:.0f} s"
    except OSError as error:
        return False, str(error)
    said = done.stdout + "\n" + done.stderr
    if done.returncode != 0:
        return False, f"exit code {done.returncode}: {_last_lines(said)}"
    return True, done.stdout.strip()


def _starts(executable: str) -> tuple[bool, str]:
    # A distribution may leave a stub on the PATH that only tells to install something else.
    return _run([executable, "--version"], VERSION_SECONDS)


def _playwright_own() -> str | None:
    has_path, path = _run([sys.executable, "-c", _PRINT_OWN_PATH], VERSION_SECONDS)
    return path if has_path and Path(path).exists() else None


def launch_arguments() -> list[str]:
    """Switches to start Chromium with; root needs the sandbox off."""
    return [*LAUNCH_ARGUMENTS, *(["--no-sandbox"] if _is_root() else [])]


def find_browser() -> str | None:
    """Path of a Chromium that starts, or None where Playwright shall use its own.

    The order is ``$KPWIDGET_BROWSER``, a Chromium on the PATH, Playwright's own (installed if it
    can be), and Debian's package when run by root.

    Raises
    ------
    BrowserNotFoundError
        If none of these gives a browser; the message lists what was tried and what to do.
    """
    chosen = os.environ.get(BROWSER_VARIABLE)
    if chosen:
        path = shutil.which(chosen)
        starts, said = _starts(path) if path else (False, "no such executable")
        if path and starts:
            return path
        raise BrowserNotFoundError(
            f"${BROWSER_VARIABLE} is {chosen!r}, expected the path of a Chromium that starts: "
            f"{said}. Set it to another browser, or unset it to have one looked for."
        )

    tried: list[str] = []
    for name in PATH_NAMES:
        path = shutil.which(name)
        if path is None:
            tried.append(f"{name}: not on the PATH")
            continue
        starts, said = _starts(path)
        if starts:
            return path
        tried.append(f"{path} --version: {said}")

    if _playwright_own():
        return None
    installed, said = _run(
        [sys.executable, "-m", "playwright", "install", "chromium"], PLAYWRIGHT_INSTALL_SECONDS
    )
    own = _playwright_own() if installed else None
    if own:
        starts, said = _starts(own)
        if starts:
            return None
    tried.append(f"python -m playwright install chromium: {said}")

    if _is_root() and shutil.which("apt-get"):
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "chromium"]):
            done, said = _run(command, APT_SECONDS)
            if not done:
                tried.append(f"{' '.join(command)}: {said}")
                break
        else:
            path = shutil.which("chromium")
            starts, said = _starts(path) if path else (False, "no chromium on the PATH after it")
            if path and starts:
                return path
            tried.append(f"apt-get install chromium: {said}")
    else:
        tried.append("apt-get install chromium: needs root and apt-get")

    raise BrowserNotFoundError(
        "The browser tests need Chromium and none was found. Tried:\n  "
        + "\n  ".join(tried)
        + f"\nInstall Chromium or Google Chrome, or set ${BROWSER_VARIABLE} to the path of one."
    )
