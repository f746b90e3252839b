"""A virtual environment of stubs, in which the script of the installation is tried."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "scripts/install.sh"

# The file `torch` names the installed build, `index` the builds of the package index, the default one first.
_PIP = """#!/bin/sh
cd "$(dirname "$0")/.."
echo "$*" >>calls
case "$*" in
    *+cpu) grep -q cpu index && echo cpu >torch ;;
    uninstall*torch) rm -f torch ;;
    *torch*) test -e torch || head -1 index >torch ;;
esac
"""
_PYTHON = """#!/bin/sh
cat "$(dirname "$0")/../torch"
"""


@dataclass
class Environment:
    """An existing virtual environment, on a machine with or without a GPU."""

    folder: Path
    gpu: bool

    def install(self, **environment: str) -> subprocess.CompletedProcess[str]:
        path = [*([str(self.folder / "driver")] if self.gpu else []), "/usr/bin", "/bin"]
        given = {"PATH": ":".join(path), "PYTHON": sys.executable} | environment
        return subprocess.run(["sh", SCRIPT, self.folder], env=given, capture_output=True, text=True, timeout=60)

    @property
    def torch(self) -> str:
        """The installed build; empty: none."""
        file = self.folder / "torch"
        return file.read_text().strip() if file.exists() else ""


def environment(folder: Path, installed: str, index: str, gpu: bool = False) -> Environment:
    (folder / "index").write_text("\n".join(index.split()) + "\n")
    if installed:
        (folder / "torch").write_text(installed)
    for name, text in (("bin/pip", _PIP), ("bin/python", _PYTHON), ("driver/nvidia-smi", "#!/bin/sh\n")):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return Environment(folder, gpu)
