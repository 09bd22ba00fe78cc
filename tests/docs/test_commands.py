"""What the README and the documents tell readers to type exists: commands with their options, make targets, files."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from repareto.search.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHELL = re.compile(r"```(?:sh|console)\n(.*?)```", re.S)
INLINE = re.compile(r"`((?:repareto|make|python -m) [^`\n]+)`")
# Folders of the repository, as they are named in texts; a file in them that a reader makes is none.
FILES = re.compile(r"`((?:examples|search|spaces|trainers|benchmarks|tests)/[\w./-]*\w\.(?:py|yaml|c|toml|md|json))`")


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command that a page shows, in blocks and within sentences."""
    text = page.read_text(encoding="utf-8")
    lines = "\n".join(SHELL.findall(text)).replace("\\\n", " ").splitlines()
    for line in [*lines, *INLINE.findall(text)]:
        try:
            words = shlex.split(line.replace("…", ""), comments=True)
        except ValueError:
            continue  # half of something quoted over lines, such as a script that is shown
        command: list[str] = []
        for word in [*words, ";"]:
            if word in ("|", "&&", ";", "&"):
                yield command
                command = []
            else:
                command.append(word)


def named(program: str) -> list[tuple[str, list[str]]]:
    return [(page.name, words[1:]) for page in PAGES for words in commands(page) if words[:1] == [program]]


def test_commands_of_repareto_exist() -> None:
    known = typer.main.get_command(app).commands
    shown = named("repareto")
    assert len(shown) > 60
    for page, (command, *rest) in shown:
        if command.startswith("-"):
            continue
        assert command in known, (page, command)
        options = {name for parameter in known[command].params for name in (*parameter.opts, *parameter.secondary_opts)}
        given = {word.partition("=")[0] for word in rest if word.startswith("--")}
        assert given <= options | {"--help"}, (page, command, given - options)


def test_targets_of_make_exist() -> None:
    targets = set(re.findall(r"^([\w./%-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page, words in named("make"):
        target = next(word for word in words if "=" not in word)
        benchmark = target.removeprefix("bench-")
        is_benchmark = benchmark != target and (ROOT / "benchmarks" / f"{benchmark}.py").exists()
        assert target in targets or is_benchmark, (page, target)


def test_modules_that_are_run_exist() -> None:
    for page, words in named("python"):
        if words[0] == "-m" and words[1].startswith("benchmarks."):
            assert (ROOT / words[1].replace(".", "/")).with_suffix(".py").exists(), (page, words)
        elif words[0].endswith(".py"):
            assert (ROOT / words[0]).exists(), (page, words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    for name in FILES.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), name


def test_links_of_the_readme_lead_somewhere() -> None:
    for file, anchor in re.findall(r"\]\(([^)#:]+)(#[^)]*)?\)", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert (ROOT / file).exists(), file
        if anchor:
            headings = re.findall(r"^#+ (.*)$", (ROOT / file).read_text(encoding="utf-8"), re.M)
            assert anchor[1:] in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings}, anchor
