"""Files with settings that are no such files, or hold what nobody means: told in a line that names file and field."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.trials.case import Case, case, ugts
from ugts_dist.config import Config

NESTED = "a = " + "[" * 900 + "]" * 900
BAD: Mapping[str, tuple[bytes, str]] = {
    "nested 900 deep": (NESTED.encode(), r"nested too deeply"),
    "with a key of 20,000 parts": (b".".join([b"a"] * 20_000) + b" = 1", r"nested too deeply"),
    "with a number of 5,000 digits": (b"[model]\nwidth = 1" + b"0" * 5000, r"digits"),
    "with a hexadecimal number": (
        b"[model]\nwidth = 0x1" + b"0" * 5000,
        r"model\.width has 20,001 bits",
    ),
    "with a number of 64 bits": (b"[model]\nwidth = 9223372036854775808", r"model\.width is 9223372036854775808"),
    "with a NUL byte": (b"[data]\nname = 'co\0ra'", r"invalid|Found|Illegal"),
    "with a NUL in a name": (b'[run]\nfolder = "co\\u0000ra"', r"run\.folder is 'co\\x00ra', allowed is a text"),
    "that is not UTF-8": (b"\xff\xfe[\x00", r"not UTF-8 at byte 0"),
    "with a number as text": (b'[optim]\nlr = "0.01"', r"optim\.lr is '0\.01', allowed is a number"),
    "with a list for a number": (b"[optim]\nlr = [0.01]", r"optim\.lr is \[0\.01\], allowed is a number"),
    "with a text for a list": (b'[batch]\nfan_out = "10"', r"batch\.fan_out is '10', allowed is a list"),
    "with a name that acts on a terminal": (b'[model]\n"\\u001b[31mdepth" = 2', r"'\\x1b\[31mdepth'"),
    "of 2 MB": (b"#" * 2**21, r"more than 1,048,576 bytes"),
    "that is a list of JSON": (b"[1, 2]\n[", r"cannot be read as|unknown"),
}


def _files() -> Iterator[Case]:
    for name, (content, told) in BAD.items():
        for command, option in (("train", "--config"), ("tune", "--space")):

            def run(folder: Path, command: str = command, option: str = option, content: bytes = content) -> str:
                (folder / "file.toml").write_bytes(content)
                return ugts(command, option, folder / "file.toml").told

            # A space has its configuration in [base].
            expected = told if command == "train" else r"(unknown section|cannot be read as a space)"
            yield Case("config_files", f"{option} {name}", rf"^exit 2: ugts: \S*file\.toml: .*{expected}", run)


def _no_file(folder: Path) -> None:
    (folder / "file.toml").mkdir()


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "file.toml")


def _endless(folder: Path) -> None:
    (folder / "file.toml").symlink_to("/dev/zero")


def _loop(folder: Path) -> None:
    (folder / "file.toml").symlink_to("file.toml")


NO_FILES: Mapping[str, tuple[Callable[[Path], None], str]] = {
    "a folder": (_no_file, "Is a directory"),
    "a pipe that nobody writes to": (_pipe, "not a regular file"),
    "an endless device": (_endless, "not a regular file"),
    "a link to itself": (_loop, "symbolic links"),
}


def _kinds() -> Iterator[Case]:
    for name, (make, told) in NO_FILES.items():
        for command, option in (("train", "--config"), ("tune", "--space")):

            def run(
                folder: Path, command: str = command, option: str = option, make: Callable[[Path], None] = make
            ) -> str:
                make(folder)
                return ugts(command, option, folder / "file.toml").told

            expected = rf"^exit 2: ugts: \S*file\.toml: cannot be read as a \w+ \(.*{told}"
            yield Case("config_files", f"{option} is {name}", expected, run)


CASES = [*_files(), *_kinds()]


@case(r"^exit 2: ugts: x{300}: cannot be read as a configuration \(File name too long\)")
def long_name(folder: Path) -> str:
    """A configuration whose name has 300 characters."""
    return ugts("train", "--config", "x" * 300).told


@case(r"^exit 2: ugts: --space: no file and no preset 'x{76}\.\.\.")
def long_space(folder: Path) -> str:
    """A space whose name has 300 characters."""
    return ugts("tune", "--space", "x" * 300).told


@case(r"^exit 2: ugts: \S*x{300}\S*: File name too long")
def long_folder(folder: Path) -> str:
    """A run folder whose name has 300 characters."""
    return ugts("train", "--run.folder", folder / ("x" * 300)).told


@case(r"^exit 2: ugts: \S*x{300}\S*: ")
def long_ticket(folder: Path) -> str:
    """A ticket whose name has 300 characters."""
    return ugts("ticket", "show", folder / ("x" * 300)).told


@case(r"^exit 2: ugts: --preset x{300}: unknown; allowed are ")
def long_preset(folder: Path) -> str:
    """A preset whose name has 300 characters."""
    return ugts("train", "--preset", "x" * 300).told


@case(r"model is \{'width': 32\}$")
def mark_of_byte_order(folder: Path) -> str:
    """A configuration that begins with a byte order mark is read."""
    from ugts_dist.config import load_toml

    (folder / "file.toml").write_bytes(b"\xef\xbb\xbf[model]\nwidth = 32\n")
    model = load_toml(folder / "file.toml").to_dict()["model"]
    return f"model is { {name: value for name, value in model.items() if value != Config().to_dict()['model'][name]} }"


def _run_folder(folder: Path) -> Path:
    """What the report takes for a run that is not finished."""
    (folder / "config.toml").write_text(Config().to_toml())
    (folder / "metrics.jsonl").write_text(json.dumps({"epoch": 0, "loss": 1.0, "valid": 0.5, "test": 0.5}) + "\n")
    return folder


@case(r"^exit 0: .*report\.html.*metrics\.jsonl: line 2 is damaged \(nested too deeply\)")
def report_with_a_pipe(folder: Path) -> str:
    """A report of a run whose result is a pipe, and a line of metrics is nested deeply."""
    _run_folder(folder)
    os.mkfifo(folder / "result.json")
    with open(folder / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"epoch": ' + "[" * 100_000 + "\n")
    return f"{ugts('report', folder).told} {(folder / 'report.html').read_text(encoding='utf-8')}"


@case(r"^exit 2: ugts: \S*: neither a run .*`ugts reproduce NAME --draw --folder ")
def page_that_is_a_pipe(folder: Path) -> str:
    """A report of a reproduction whose page is a pipe."""
    os.mkfifo(folder / "index.html")
    return ugts("report", folder).told


@case(r"^exit 2: ugts: \S*space\.toml: cannot be read as a space \(not a regular file\)")
def search_that_is_a_pipe(folder: Path) -> str:
    """A search that goes on, whose space is a pipe."""
    (folder / "mine").mkdir()
    os.mkfifo(folder / "mine" / "space.toml")
    return ugts("tune", "--storage", folder, "--resume", "mine").told


@case(r"^exit 2: .*ugts: \S*known/table1\.json: ")
def known_figures_that_are_a_pipe(folder: Path) -> str:
    """Known figures of a reproduction that are a pipe."""
    (folder / "known").mkdir()
    os.mkfifo(folder / "known" / "table1.json")
    return ugts("reproduce", "table5", "--list", "--known", folder / "known", "--folder", folder / "out").told
