"""The launch files by themselves: their fields, their shell, their pages."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.cluster.rayjob_fields import RAY_JOB
from tests.cluster.stubs import CLUSTER, job

SCRIPTS = sorted([*CLUSTER.glob("*.sh"), *CLUSTER.glob("*.sbatch"), CLUSTER.parent / "scripts/install.sh"])
PAGES = {
    "image.sh": "kuberay-rayjob.md",
    "Dockerfile": "kuberay-rayjob.md",
    "ray-cluster.yaml": "ray-cluster.md",
    "ray-node.sh": "ray-node.md",
    "kuberay-rayjob.yaml": "kuberay-rayjob.md",
    "slurm-ray.sbatch": "slurm.md",
    "slurm-torchrun.sbatch": "slurm.md",
    "stage-store.sh": "stage-store.md",
}


def read(name: str) -> Any:
    return yaml.safe_load((CLUSTER / name).read_text())


def ray_schema() -> Any:
    spec = find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    return json.loads((Path(spec.origin).parent / "autoscaler/ray-schema.json").read_text())


def test_the_ray_cluster_has_the_fields_of_ray() -> None:
    config = read("ray-cluster.yaml")
    jsonschema.validate(config, ray_schema())
    assert config["max_workers"] == len(config["provider"]["worker_ips"])
    for command in (config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]):
        assert "/cluster/ray-node.sh" in command


def test_a_field_that_ray_lacks_is_seen() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(read("ray-cluster.yaml") | {"worker_count": 2}, ray_schema())


def test_the_ray_job_has_the_fields_of_kuberay() -> None:
    config = read("kuberay-rayjob.yaml")
    jsonschema.validate(config, RAY_JOB)
    for group in [
        config["spec"]["rayClusterSpec"]["headGroupSpec"],
        *config["spec"]["rayClusterSpec"]["workerGroupSpecs"],
    ]:
        pod = group["template"]["spec"]
        known = {volume["name"] for volume in pod["volumes"]}
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= known


@pytest.mark.parametrize("place", ["spec", "spec.rayClusterSpec", "spec.rayClusterSpec.headGroupSpec.template.spec"])
def test_a_field_that_kuberay_lacks_is_seen(place: str) -> None:
    config = copy.deepcopy(read("kuberay-rayjob.yaml"))
    target = config
    for name in place.split("."):
        target = target[name]
    target["replica"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config, RAY_JOB)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_clean(script: Path) -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", PAGES)
def test_each_launch_file_has_a_page(name: str) -> None:
    page = (CLUSTER / PAGES[name]).read_text()
    assert "## What to change" in page
    assert "## Check that it works" in page
    assert name in page
    assert PAGES[name] in (CLUSTER / "README.md").read_text()


def test_pages_name_every_setting_of_the_batch_scripts() -> None:
    page = (CLUSTER / "slurm.md").read_text()
    for script in CLUSTER.glob("*.sbatch"):
        for setting in set(re.findall(r"\bUGTS_[A-Z]+", script.read_text())):
            assert f"`{setting}`" in page, setting


def test_links_of_the_pages_lead_to_files() -> None:
    for page in CLUSTER.glob("*.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (CLUSTER / link).exists(), f"{page.name}: {link}"


def node(home: Path, *arguments: str, **environment: str) -> tuple[int, str, list[str]]:
    dry = job(home, ray="exit 0")
    given = {"HOME": str(home), "PATH": f"{home}/.venv/bin:/usr/bin:/bin"} | environment
    process = dry.start("ray-node.sh", *arguments, **given)
    told, _ = process.communicate(timeout=60.0)
    return process.returncode, told, dry.calls("ray")


def token(home: Path, mode: int = 0o600) -> None:
    (home / ".ray").mkdir()
    (home / ".ray/auth_token").write_text("secret")
    (home / ".ray/auth_token").chmod(mode)


def test_a_head_is_started_with_what_it_is_told(tmp_path: Path) -> None:
    token(tmp_path)
    options = ["--interface", "eth0", "--cpus", "8", "--gpus", "2", "--port", "7000", "--", "--block"]
    code, _, (call,) = node(tmp_path, "head", *options)
    assert code == 0
    assert call.startswith("start --head --port=7000 --dashboard-host=127.0.0.1 ")
    assert call.endswith("--node-ip-address=10.0.0.1 --num-cpus=8 --num-gpus=2 --block")


def test_without_a_token_nothing_starts(tmp_path: Path) -> None:
    code, told, calls = node(tmp_path, "head")
    assert (code, calls) == (2, [])
    assert "no token in" in told
    assert "ray-node.sh token" in told


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    token(tmp_path, 0o644)
    code, told, calls = node(tmp_path, "head")
    assert (code, calls) == (2, [])
    assert "chmod 600" in told


def test_a_token_is_made_once_and_for_its_owner(tmp_path: Path) -> None:
    code, told, _ = node(tmp_path / "a", "token", HOME=str(tmp_path))
    file = tmp_path / ".ray/auth_token"
    made = file.read_text()
    assert (code, len(made), file.stat().st_mode & 0o777) == (0, 64, 0o600)
    assert "made" in told
    assert "there already" in node(tmp_path / "b", "token", HOME=str(tmp_path))[1]
    assert file.read_text() == made


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["worker"], "--head HOST[:PORT] is needed"),
        (["head", "--gpus", "two"], "--gpus is 'two', allowed is a number"),
        (["head", "--gpu", "2"], "unknown option --gpu"),
        (["head", "--gpus"], "without its value"),
        (["worker", "--head", "127.0.0.1:1", "--wait", "0"], "no answer from 127.0.0.1:1 within 0 s"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path: Path, arguments: list[str], told: str) -> None:
    token(tmp_path)
    code, shown, calls = node(tmp_path, *arguments)
    assert (code, calls) == (2, [])
    assert told in shown
    assert shown.count("\n") == 1
