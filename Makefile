# make demo: train, test and use a small SqueezeNet.  make check: ruff and mypy.  make site: the documentation, in site/.
# make test: all tests but the long ones.  make test-quick: those to run while working.  make test-long: those before a release.
PYTHON ?= python3
BIN := .venv/bin
export MPLBACKEND := Agg
# Many processes import the same files: they are compiled once.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-quick test-long check site clean

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: .venv/ready
	rm -rf demo && mkdir demo
	$(BIN)/squeezekit train --data digits --base-e 64 --incr-e 32 --stem-width 32 --epochs 15 -o demo/run
	$(BIN)/squeezekit evaluate demo/run --pictures demo/run
	$(BIN)/python examples/save_digits.py demo/pictures
	$(BIN)/squeezekit predict demo/run demo/pictures --top 3
	@echo
	@echo 'Curves are in demo/run/curves.png. Next, with a folder that holds one folder of pictures for each class:'
	@echo '  $(BIN)/squeezekit train --data FOLDER -o runs/mine'

# One process a core, each of one thread, since small networks leave a second one idle.
test: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal --durations 20 -m 'not long'

test-quick: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --dist worksteal -m 'not slow and not long'

test-long: .venv/ready
	$(BIN)/pytest -m long

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/mypy

# To read it: .venv/bin/python -m http.server -d site
site: .venv/ready
	$(BIN)/python scripts/site_pages.py site

clean:
	rm -rf demo site .venv
