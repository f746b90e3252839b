"""The image for Kubernetes, without a container engine: its instructions, what goes into it, and the script's steps.

`cluster/image.sh` builds and tries it where there is an engine.
"""

from __future__ import annotations

import fnmatch
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from tests.cluster.stubs import CLUSTER, job

ROOT = CLUSTER.parent
RAY = "1000:100"
"""The user and the group of Ray's images."""


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, each with its arguments."""
    text = (CLUSTER / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


def sent() -> set[str]:
    """The files of the checkout that are sent to the engine, by `.dockerignore`."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    names = set()
    for top in ROOT.iterdir():
        if is_sent(top.name, rules):
            files = [path for path in top.rglob("*") if path.is_file()] if top.is_dir() else [top]
            names |= {str(path.relative_to(ROOT)) for path in files}
    return {path for path in names if is_sent(path, rules)}


def is_sent(path: str, rules: list[str]) -> bool:
    """Whether the last rule that matches the path, or a folder above it, includes it."""
    parts = path.split("/")
    above = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
    kept = True
    for rule in rules:
        anywhere = rule.startswith("**/")
        pattern = rule.removeprefix("!").removeprefix("**/")
        if any(fnmatch.fnmatch(name, pattern) for name in (parts if anywhere else above)):
            kept = rule.startswith("!")
    return kept


def test_the_image_is_rays_and_runs_as_its_user() -> None:
    steps = instructions()
    (base,) = [argument for name, argument in steps if name == "FROM"]
    config = yaml.safe_load((CLUSTER / "kuberay-rayjob.yaml").read_text())["spec"]["rayClusterSpec"]
    assert base.startswith(f"rayproject/ray:{config['rayVersion']}-py3")
    assert config["rayVersion"] == version("ray")
    minor = int(re.findall(r"-py3(\d+)-", base)[0])
    least = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert f">=3.{minor}" <= least
    assert [argument for name, argument in steps if name == "USER"] == [RAY]
    assert steps[-1] == ("USER", RAY)
    for name, argument in steps:
        assert name in ("FROM", "COPY", "RUN", "USER")
        assert name != "COPY" or argument.startswith(f"--chown={RAY} ")
        assert "pip install" not in argument or "--no-cache-dir" in argument


def test_the_dockerfile_is_clean() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, CLUSTER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_groups_of_the_job_are_those_of_the_image() -> None:
    config = yaml.safe_load((CLUSTER / "kuberay-rayjob.yaml").read_text())["spec"]["rayClusterSpec"]
    for group in (config["headGroupSpec"], *config["workerGroupSpecs"]):
        assert group["template"]["spec"]["securityContext"]["fsGroup"] == int(RAY.partition(":")[2])


def test_the_image_has_the_program_and_its_scripts_and_nothing_else() -> None:
    files = sent()
    assert not any("__pycache__" in path for path in files)
    assert {path.split("/")[0] for path in files} == {
        "LICENSE",
        "README.md",
        "cluster",
        "pyproject.toml",
        "tuning",
        "ugts_dist",
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for package in project["tool"]["setuptools"]["packages"]["find"]["include"]:
        assert f"{package.rstrip('*')}/__init__.py" in files
    assert project["project"]["readme"] in files
    job_file = (CLUSTER / "kuberay-rayjob.yaml").read_text()
    for script in re.findall(r"/opt/ugts_dist/([\w./-]+)", job_file):
        assert script in files


def build(home: Path, engine: str) -> tuple[int, str, list[str]]:
    """What the script does with an engine that gives this answer."""
    dry = job(home, docker=engine)
    process = dry.start("image.sh", "mine:1", PATH=f"{home}/.venv/bin:/usr/bin:/bin")
    told, _ = process.communicate(timeout=60.0)
    return process.returncode, told, dry.calls("docker")


def test_the_script_builds_the_image_and_tries_it(tmp_path: Path) -> None:
    code, told, calls = build(tmp_path, '[[ $* == *"id -un" ]] && echo ray\nexit 0\n')
    assert code == 0, told
    assert calls[0] == f"build --file {CLUSTER}/Dockerfile --tag mine:1 {ROOT}"
    assert [call.removeprefix("run --rm mine:1 ").split()[0] for call in calls[1:]] == ["id", "ugts", "ray", "test"]


@pytest.mark.parametrize(
    ("engine", "told"),
    [
        ('[[ $* == *"id -un" ]] && echo root\nexit 0\n', "mine:1 runs as root"),
        ('[[ $* == *"id -un" ]] && echo ray\n[[ $* != *ugts* ]]\n', "mine:1: ugts does not answer"),
    ],
)
def test_an_image_that_does_not_work_is_told(tmp_path: Path, engine: str, told: str) -> None:
    code, shown, _ = build(tmp_path, engine)
    assert code == 2
    assert told in shown


def test_without_an_engine_the_script_says_so(tmp_path: Path) -> None:
    for program in ("bash", "env", "dirname"):
        (tmp_path / program).symlink_to(f"/usr/bin/{program}")
    done = subprocess.run(
        ["bash", CLUSTER / "image.sh"], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "image: no container engine; docker or podman is needed\n"
