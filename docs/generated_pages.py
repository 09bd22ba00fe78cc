"""What Sphinx reads beside what stands in a page: what is made of the code, figures, links to files outside ``docs/``.

Such a page has a few words of its own; what is made is put below them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def fill(_app: object, page: str, source: list[str]) -> None:
    """Add to a page what is made of the code, where it is one of ``PAGES``, and lead its links to pages of the site."""
    if page in PAGES:
        source[0] += "\n" + PAGES[page]()
    for file, there in OUTSIDE.items():
        source[0] = source[0].replace(f"]({file}", f"]({'../' * page.count('/')}{there}")


def command_line() -> str:
    """Return what each command takes, as Markdown."""
    import typer.cli
    import typer.main

    from repareto.search.cli import app

    command = typer.main.get_command(app)
    text = typer.cli.get_docs_for_click(obj=command, ctx=typer.Context(command), name="repareto")
    # The page has its title already, and its commands stand below it.
    return text.split("\n", 1)[1]


def config_keys() -> str:
    """Return the keys of each section of a config, as tables."""
    from repareto.search.config_schema import config_schema

    schema = config_schema()
    top, settings = schema["properties"], schema["$defs"]
    lines = [*_section("Top level", schema)]
    lines += _section("search", settings.pop("SearchSection"))
    lines += _section("workers", settings.pop("WorkersSection"))
    lines += _section("training", top["training"])
    lines += _section("budgets", top["budgets"])
    for source in top["data"]["allOf"]:
        lines += _section(f"data: {source['if']['properties']['source']['const']}", source["then"])
    # What stands under a key of a section.
    for name in sorted(settings):
        lines += _section(name, settings[name])
    return "\n".join(lines)


def figures() -> str:
    """Return all claims that benchmarks published, those that do not hold among them, a table a benchmark."""
    lines = []
    for path in sorted(RESULTS.glob("*.json")):
        document = json.loads(path.read_text())
        if document["quick"] or not document["claims"]:
            continue
        lines += [f"## {document['benchmark']}", ""]
        made = f"`{document['command']}`, {document['date']}, {document['machine']}"
        lines += [f"[{path.name}](../benchmarks/results/{path.name}): {made}", ""]
        lines += ["| | value | range | asked | held |", "|---|---|---|---|---|"]
        lines += [_claim(claim) for claim in document["claims"]]
        lines.append("")
    return "\n".join(lines)


def _claim(claim: Mapping[str, Any]) -> str:
    value, low, high, target = (f"{claim[key]:.3g}" for key in ("value", "low", "high", "target"))
    held = "yes" if claim["holds"] else f"**no**: {claim['why']}"
    cells = (claim["what"], value, f"{low} to {high}" if low != high else "", f"{claim['op']} {target}", held)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _section(title: str, section: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"## {title}", "")
    if section.get("description") and "\n" not in section["description"]:
        yield from (section["description"], "")
    yield from ("| key | takes | default | what |", "|---|---|---|---|")
    needed = section.get("required", ())
    for key, found in section["properties"].items():
        if found is True:
            continue
        default = "needed" if key in needed else _default(found)
        cells = (f"`{key}`", _kind(found), default, found.get("description", ""))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _default(found: Mapping[str, Any]) -> str:
    if found.get("default") is None:
        return ""
    told = json.dumps(found["default"])
    return f"`{told}`" if len(told) < 60 else "see the guide"


def _kind(found: Mapping[str, Any]) -> str:
    """Say in a few words what a schema lets pass."""
    if "$ref" in found:
        return f"`{found['$ref'].rsplit('/')[-1]}`"
    if "enum" in found:
        return "one of " + ", ".join(f"`{option}`" for option in found["enum"])
    if "const" in found:
        return f"`{found['const']}`"
    if "anyOf" in found:
        return " or ".join(_kind(option) for option in found["anyOf"])
    if found.get("type") == "null":
        return "nothing"
    if found.get("type") == "array" and isinstance(found.get("items"), dict):
        return f"a list of {_kind(found['items'])}"
    kind = found.get("type", "any")
    told = " or ".join(kind) if isinstance(kind, list) else kind
    return told + "".join(f" {sign} {found[key]:g}" for key, sign in LIMITS.items() if key in found)


LIMITS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
# Files that are read in the repository where they are, and on the site as pages.
OUTSIDE = {
    "../benchmarks/LOG.md": "log.md",
    "../../benchmarks/LOG.md": "log.md",
    "../CHANGELOG.md": "changelog.md",
    "../CONTRIBUTING.md": "contributing.md",
}
PAGES = {"figures": figures, "reference/command-line": command_line, "reference/config": config_keys}
