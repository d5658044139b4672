# make demo: train, test and use a small SqueezeNet.  make check: ruff and mypy.
# make test: all tests but the long ones.  make test-quick: those to run while working.  make test-long: .venv/ready
	$(BIN)/pytest -m long

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf demo .venv
