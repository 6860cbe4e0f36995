"""The notebooks on models of the hosted services' documents: what each refuses, and the next best way."""

import json

import pytest

from tests.support.plugin import SCHEMES, install
from tests.support.services import address, in_this_process
from tests.versions.chain import check, contents, run_chain

SERVICES = dict(zip(SCHEMES, ("Unity Catalog's rules", "Azure ML's rules", "Fabric's rules"), strict=True))
