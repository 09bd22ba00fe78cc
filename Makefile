# `make search` and `make test` do everything on a machine that has Python 3.11 or later, in .venv.
PYTHON ?= python3
BIN := .venv/bin
# One thread a worker: more of them contend for the same cores.
export OMP_NUM_THREADS ?= 1

.PHONY: search test check format docs figures gallery slow claims bench chaos constraints clean

search: .venv/installed
	$(BIN)/repareto search examples/keywords.yaml

# What starts servers and searches comes after the rest: much of its time is waiting, so that two files run at a time.
# Benchmarks share no fixture, so that their one long file is dealt out test by test.
test: .venv/installed
	$(BIN)/pytest -n 2 --dist loadfile tests/spaces tests/trainers tests/search tests/infra
	$(BIN)/pytest -n 2 --dist loadfile tests/integration tests/docs
	$(BIN)/pytest -n 2 --dist load tests/benchmarks

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The site, in build/docs; a warning, such as of a link that leads nowhere, is an error.
docs: .venv/installed
	$(BIN)/python -m sphinx --quiet --fresh-env --fail-on-warning --keep-going docs build/docs

# Figures of benchmarks/results into the tables of the README and of docs/.
figures: .venv/installed
	$(BIN)/python -m benchmarks.figures

# The pictures of docs/gallery.md; those of MLflow's UI are taken by the test that looks at it.
gallery: .venv/installed
	$(BIN)/python -m benchmarks.gallery
	REPARETO_PICTURES=build/pictures $(BIN)/pytest -q -n 0 tests/integration/test_browser.py
	$(BIN)/python -m benchmarks.gallery --shrink build/pictures

# Some minutes: each command of docs/tutorial.md on little data, an export behind MLflow's own server, the first figures.
slow: .venv/installed
	$(BIN)/pytest -m slow tests

claims: .venv/installed
	$(BIN)/python -m benchmarks.claims

bench: bench-overhead bench-first_light

bench-recordings: .venv/installed
	$(BIN)/python -m benchmarks.recordings --data "$(DATA)"

# An hour on one core; what a run that was cut off has trained is kept.
bench-matched_error: .venv/installed
	$(BIN)/python -m benchmarks.matched_error --keep build/matched_error

# Three hours on one core, what was done is kept; with Syne Tune and Ax where they are (pip install syne-tune ax-platform).
bench-search: .venv/installed
	$(BIN)/python -m benchmarks.search_quality --keep build/search_quality.jsonl
	$(BIN)/python -m benchmarks.real_search --example digits --keep build/real_search
	$(BIN)/python -m benchmarks.real_search --example keywords --keep build/real_search --searches frontier "tpe with early stopping"

# Half an hour to an hour.
chaos: .venv/installed
	$(BIN)/python -m benchmarks.chaos

bench-%: .venv/installed
	$(BIN)/python -m benchmarks.$*

constraints: .venv/installed
	(echo "# Exact versions that the tests ran with; pyproject.toml has the ranges. Made by \`make constraints\`."; \
	 $(BIN)/pip freeze --exclude-editable | sed 's/+cpu//') > constraints.txt

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade "setuptools>=77"
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[speech,test,dev,docs]"
	touch $@
