# SIMPICKER: everything is a verb of make. `make help` lists them.

PYTHON ?= python3
PRESET ?= asic
TARGET ?= ecp5
COMPONENT ?=
SEED ?= 1
TRACES ?=
HEADS ?=
WAVES ?=
PART ?=
LIBERTY ?=
ARGS ?=

BIN := .venv/bin
EXTRAS := sim synth prove dev
READY := .venv/ready
RUN = $(BIN)/python -m scripts.$@ --preset $(PRESET)

.DEFAULT_GOAL := help
.PHONY: help demo evaluate utilisation speedup test verilog sim synth lint prove bench readme clean lock
.SILENT:

help: ## list the verbs
	printf 'usage: make VERB [PRESET=%s] ...\n\n' '$(PRESET)'
	sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 12
	printf '\npresets: tiny ecp5 amd asic paper; figures of a verb: build/<preset>/<verb>.json\n'

demo: $(READY) ## simulate whole heads of real attention, bit for bit against golden; TRACES="file ..." HEADS="0 3"
	$(RUN) $(HEADS:%=--head %) $(TRACES)

evaluate: $(READY) ## error, work and schedules of the algorithm, beside other rules; TRACES="file ..." HEADS="0 3" PART="curves"
	$(RUN) $(HEADS:%=--head %) $(PART:%=--part %) $(TRACES)

utilisation: $(READY) ## how busy the lanes are over whole runs, and what they wait for; TRACES="file ..." HEADS="0 3"
	$(RUN) $(HEADS:%=--head %) $(TRACES)

speedup: $(READY) ## times faster than a dense FP16 core, in cycles, and by what; TRACES="file ..." HEADS="0 3" LIBERTY=file.lib
	$(RUN) $(HEADS:%=--head %) $(LIBERTY:%=--liberty %) $(TRACES)

test: $(READY) ## run all tests; ARGS="-k softmax" and the like go to pytest
	$(RUN) -- $(ARGS)

verilog: $(READY) ## generate Verilog of every component
	$(RUN)

sim: $(READY) ## run the cocotb benches; COMPONENT=core SEED=1 WAVES=1
	$(RUN) --seed $(SEED) $(COMPONENT:%=--component %) $(if $(WAVES),--waves)

synth: $(READY) ## synthesize every component with Yosys; TARGET=ecp5 or TARGET=xilinx
	$(RUN) --target $(TARGET)

lint: $(READY) ## lint the Verilog with Verilator, and the Python with Ruff and Pyright
	$(RUN)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

prove: $(READY) ## prove properties of the components, each with a cover and a mutant
	$(RUN)

bench: $(READY) ## measure speed, throughput, and styles of tables; PART="arbiter styles full" LIBERTY="file.lib ..."
	$(RUN) $(PART:%=--part %) $(LIBERTY)

readme: $(READY) ## write the measured parts of README.md from build/
	$(BIN)/python -m scripts.$@

clean: ## remove what was made, but not the tools that were installed
	rm -rf build

lock: ## pin the newest versions that pyproject.toml allows
	$(PYTHON) -m venv build/lock && build/lock/bin/pip install --quiet uv
	build/lock/bin/uv pip compile --quiet --upgrade pyproject.toml $(EXTRAS:%=--extra %) --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-header --output-file requirements.lock

$(READY): requirements.lock pyproject.toml
	echo 'installing the tools into .venv (once, about a minute)'
	$(PYTHON) -c 'import sys; sys.exit("error: Python $(PYTHON) is older than 3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
