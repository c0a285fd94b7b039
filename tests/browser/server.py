"""One Jupyter server for the browser tests, apart from the user's own settings and kernels."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

#: The repository; kernels can import what is in it.
REPOSITORY = Path(__file__).resolve().parents[2]

START_SECONDS = 90.0
STOP_SECONDS = 15.0

#: A kernel whose ipykernel works as it did before it had subshells.
NO_SUBSHELLS = "no-subshells"
_NO_SUBSHELLS_CODE = (
    "from ipykernel import kernelapp; "
    "kernelapp.ShellChannelThread = lambda *args, **kwargs: None; "
    "kernelapp.launch_new_instance()"
)

_SERVER_CONFIG = {
    "ServerApp": {
        "ip": "127.0.0.1",
        "port": 0,
        "allow_root": True,
        "allow_remote_access": False,
        "disable_check_xsrf": True,
    },
    "LabApp": {"expose_app_in_browser": True, "extension_manager": "readonly"},
    "JupyterNotebookApp": {"expose_app_in_browser": True},
    "LanguageServerManager": {"autodetect": False},
    # A kernel in a blocking call cannot answer the request to shut down.
    "KernelManager": {"shutdown_wait_time": 1.0},
}
_PAGE_CONFIG = {
    "disabledExtensions": {
        "@jupyterlab/apputils-extension:announcements": True,
        "@jupyterlab/extensionmanager-extension": True,
    }
}
_SETTING_OVERRIDES = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}


class JupyterServer:
    """A ``jupyter lab`` process on 127.0.0.1 that serves JupyterLab and Notebook 7.

    Parameters
    ----------
    directory : Path
        An empty folder for the notebooks, the settings and the log.
    """

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.log_path = directory / "server.log"
        self.runtime = directory / "runtime"
        self.token = secrets.token_hex(16)
        self.port = 0
        self._config = directory / "config"
        self._data = directory / "data"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Base address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def _write_settings(self) -> None:
        labconfig = self._config / "labconfig"
        spec = self._data / "kernels" / NO_SUBSHELLS
        for folder in (self.root, self.runtime, labconfig, spec):
            folder.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-c", _NO_SUBSHELLS_CODE, "-f", "{connection_file}"]
        files = {
            self._config / "jupyter_server_config.json": _SERVER_CONFIG,
            labconfig / "page_config.json": _PAGE_CONFIG,
            labconfig / "default_setting_overrides.json": _SETTING_OVERRIDES,
            spec / "kernel.json": {
                "argv": argv,
                "display_name": "Python without subshells",
                "language": "python",
                "interrupt_mode": "signal",
            },
        }
        for path, value in files.items():
            path.write_text(json.dumps(value, indent=1))

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPY_"))}
        python_path = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
        return kept | {
            "JUPYTER_CONFIG_DIR": str(self._config),
            "JUPYTER_DATA_DIR": str(self._data),
            "JUPYTER_RUNTIME_DIR": str(self.runtime),
            "JUPYTER_PREFER_ENV_PATH": "1",
            "JUPYTERLAB_SETTINGS_DIR": str(self._config / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(self._config / "workspaces"),
            "IPYTHONDIR": str(self._directory / "ipython"),
            "PYTHONPATH": os.pathsep.join(python_path),
            "PYTHONUNBUFFERED": "1",
            # The server's token must not stand in its command line.
            "JUPYTER_TOKEN": self.token,
        }

    def start(self) -> None:
        """Start the server and wait until it answers; after `end`, on the same port again.

        Raises
        ------
        RuntimeError
            If it ends or does not answer in time; the message has the end of its log.
        """
        self._write_settings()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "jupyterlab", "--no-browser"),
                    f"--ServerApp.root_dir={self.root}",
                    *([f"--ServerApp.port={self.port}"] if self.port else []),
                    "--ServerApp.port_retries=0",
                ],
                cwd=self.root,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_SECONDS
        # The first time the server chooses the port, so no other program can take it in between.
        info = self.runtime / f"jpserver-{self._process.pid}.json"
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(
                    f"jupyter lab ended with code {self._process.returncode} while starting; "
                    f"its log ends:\n{self.log_tail()}"
                )
            if info.exists() and self._answers(info):
                return
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(
            f"jupyter lab did not answer within {START_SECONDS:.0f} s; its log ends:\n"
            f"{self.log_tail()}"
        )

    def _answers(self, info: Path) -> bool:
        try:
            self.port = int(json.loads(info.read_text())["port"])
            self.api("GET", "/api/status")
        except (ValueError, OSError):  # half-written file, or not listening yet
            return False
        return True

    def api(self, method: str, path: str, body: object = None) -> Any:
        """Answer of a REST request, decoded from JSON; None where it is empty."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            text = response.read()
        return json.loads(text) if text else None

    def set_setting(self, plugin: str, values: dict[str, object]) -> None:
        """Set all user settings of a front-end plugin for pages opened from now on."""
        path = f"/lab/api/settings/{urllib.parse.quote(plugin, safe='@/')}"
        self.api("PUT", path, {"raw": json.dumps(values)})

    def connection_file(self, kernel_id: str) -> Path:
        """Where a kernel of this server says how to reach it."""
        return self.runtime / f"kernel-{kernel_id}.json"

    def shut_down_kernels(self) -> None:
        """End every kernel of this server."""
        for session in self.api("GET", "/api/sessions"):
            self._delete(f"/api/sessions/{session['id']}")
        for kernel in self.api("GET", "/api/kernels"):
            self._delete(f"/api/kernels/{kernel['id']}")

    def _delete(self, path: str) -> None:
        try:
            self.api("DELETE", path)
        except urllib.error.HTTPError as error:
            if error.code not in (404, 410):  # gone already: a cell may have ended its own kernel
                raise

    def log_tail(self, lines: int = 60) -> str:
        """Return the last lines of the server's log."""
        if not self.log_path.exists():
            return "(no log)"
        text = self.log_path.read_text(errors="replace").replace(self.token, "<token>")
        return "\n".join(text.splitlines()[-lines:])

    def end(self) -> None:
        """End the kernels and the server; the notebooks stay for the next `start`."""
        process = self._process
        if process is None:
            return
        self._process = None
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def stop(self) -> None:
        """End the kernels and the server, and remove the notebooks."""
        self.end()
        shutil.rmtree(self.root, ignore_errors=True)
