from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ugts_dist.errors import InputError, did_you_mean
from ugts_dist.terminal import escaped
from ugts_dist.text_files import parse_json, parse_toml, read_bytes, read_json, read_text, read_toml


def test_a_text_with_and_without_a_byte_order_mark(tmp_path: Path) -> None:
    for name, data in (("a", "ä = 1\n".encode()), ("b", b"\xef\xbb\xbf" + "ä = 1\n".encode())):
        (tmp_path / name).write_bytes(data)
        assert read_text(tmp_path / name, "a text", 100) == "ä = 1\n"


def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1234")
    assert read_bytes(tmp_path / "a", 4) == b"1234"
    with pytest.raises(ValueError, match="more than 3 bytes"):
        read_bytes(tmp_path / "a", 3)
    with pytest.raises(InputError, match=r"a: cannot be read as a text \(more than 3 bytes\)"):
        read_text(tmp_path / "a", "a text", 3)


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path, tmp_path / "none", tmp_path / "nul\0", "x" * 300):
        for read in (read_toml, read_json):
            with pytest.raises(InputError, match="cannot be read as a file of ours"):
                read(path, "a file of ours")


@pytest.mark.parametrize("parse", [parse_toml, parse_json])
@pytest.mark.parametrize("levels", [33, 900, 100_000])
def test_nesting_is_bounded(parse: object, levels: int) -> None:
    text = "[" * levels + "]" * levels
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_toml(f"a = {text}") if parse is parse_toml else parse_json(f'{{"a": {text}}}')


def test_numbers_are_bounded() -> None:
    assert parse_toml("a = -9223372036854775808") == {"a": -(2**63)}
    assert parse_json('{"a": [18446744073709551615]}') == {"a": [2**64 - 1]}
    with pytest.raises(ValueError, match=r"a\.0\.b has 65 bits, allowed are 64"):
        parse_toml(f"a = [{{b = {2**64}}}]")
    with pytest.raises(ValueError, match="a has 20,000 bits"):
        parse_toml("a = 0x" + "f" * 5000)


def test_no_text_of_the_allowed_size_keeps_a_parser_busy() -> None:
    """The time that tomllib takes for a key grows with the square of its parts: hours for these."""
    for text in (".".join("a" * 500_000) + " = 1", "[" + '"a" . ' * 100_000 + "b]", "ä." * 200_000 + "b = 1"):
        with pytest.raises(ValueError, match="nested too deeply"):
            parse_toml(text)
    assert parse_toml("a = '" + "." * 10**6 + "'") == {"a": "." * 10**6}


def test_what_acts_on_a_terminal_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert escaped("plain, ä, 中, [red]x[/]") == "plain, ä, 中, [red]x[/]"
    assert escaped("\x1b]0;title\x07 \x9b31m \r\n\t \u202e \u2066 \u200b \udc80") == (
        r"\x1b]0;title\x07 \x9b31m \r\n\t \u202e \u2066 \u200b \udc80"
    )
    logging.getLogger("ugts_dist.any").info("two\nlines  and \x1b[2J")
    assert capsys.readouterr().err == "ugts: two lines and \\x1b[2J\n"


def test_who_uses_the_library_decides_what_becomes_of_its_lines() -> None:
    """Without the command line only warnings are shown, as by an unconfigured `logging`."""
    program = (
        "import logging, sys\n"
        "if sys.argv[1] == 'redirected': logging.basicConfig(stream=sys.stdout, level=logging.INFO)\n"
        "if sys.argv[1] == 'silent': logging.getLogger('ugts_dist').setLevel(logging.CRITICAL)\n"
        "import ugts_dist.config_names\n"
        "logging.getLogger('ugts_dist.training').info('told')\n"
        "ugts_dist.config_names.note_old_names(['batch.parts'])\n"
    )

    def shown(how: str) -> tuple[str, str]:
        done = subprocess.run([sys.executable, "-c", program, how], capture_output=True, text=True, check=True)
        return done.stdout, done.stderr

    old = "batch.parts is now batch.micro_batches; the old name is still read"
    assert shown("default") == ("", f"{old}\n")
    assert shown("silent") == ("", "")
    assert shown("redirected") == (f"INFO:ugts_dist.training:told\nWARNING:ugts_dist.config_names:{old}\n", "")


def test_what_was_meant() -> None:
    known = ["supermask.initial-sparsity", "supermask.sparsity", "cora-gin", "cora-gcn", "train"]
    meant = {"--sparsity": "supermask.sparsity", "cora-gnc": "cora-gcn", "trian": "train", "CORA-GCN": "cora-gcn"}
    for name, suggestion in meant.items():
        assert did_you_mean(name, known) == f" (did you mean {suggestion}?)"
    assert did_you_mean("something", known) == ""
