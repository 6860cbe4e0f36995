"""The names in a store, where nothing stands before them."""

from helpers.trials import ARCHITECTURES, LIBRARIES, PRODUCT, PROMOTIONS

CANDIDATES = [f"{PRODUCT}-{architecture}" for architecture in ARCHITECTURES]  # of the grid
EXPERIMENTS = [f"{PRODUCT}-{architecture}" for architecture in (*LIBRARIES, PROMOTIONS)]
