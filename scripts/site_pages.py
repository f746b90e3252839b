"""Hook of mkdocs: pages of the site that lie outside docs/, notebooks as pages, and formulas as MathML.

In the site, docs/ is dissolved: docs/method.md and benchmarks/RESULTS.md lie at method.md and benchmarks/RESULTS.md. A
link out of docs/ has one `../` fewer there than in the repository, where it works as well.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import latex2mathml.converter
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "cluster/*",
    "benchmarks/RESULTS.md",
    "benchmarks/*/*.png",
    "benchmarks/reproduction/README.md",
)
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)")
FORMULA = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what lies outside docs/, and put a page in the place of each notebook."""
    for path in sorted(path for pattern in OUTSIDE for path in ROOT.glob(pattern)):
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        files.remove(notebook)
        text = notebook_page(json.loads(notebook.content_string))
        files.append(File.generated(config, notebook.src_uri.removesuffix("ipynb") + "md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links to where their pages lie in the site, and write formulas as MathML."""
    in_docs = (Path(config.docs_dir) / page.file.src_uri).is_file()
    depth = page.file.src_uri.count("/")

    def moved(link: re.Match[str]) -> str:
        start, target = link.groups()
        target = re.sub(r"\.ipynb$", ".md", target)
        if in_docs and target.startswith("../" * (depth + 1)):
            target = target.removeprefix("../")
        elif not in_docs:
            target = target.replace("docs/", "", 1) if re.match(r"(\.\./)*docs/", target) else target
        return start + target

    return FORMULA.sub(_mathml, LINK.sub(moved, markdown))


def _mathml(formula: re.Match[str]) -> str:
    text = latex2mathml.converter.convert(" ".join(formula[1].split()), display="block")
    return f'<div class="formula">{text}</div>'


def notebook_page(notebook: dict[str, Any]) -> str:
    """Markdown of a notebook: its text, its code, and below each piece what it printed and drew."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        parts += [_output(output) for output in cell["outputs"]]
    return "\n\n".join(parts) + "\n"


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        return f'<img alt="What the code above draws" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    text = "".join(output.get("text") or data.get("text/plain", ""))
    return f"```text\n{text.rstrip()}\n```"
