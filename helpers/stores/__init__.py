"""Where runs and models are kept: what a STORE is, the folder or the server behind it, its experiments."""


class StoreError(RuntimeError):
    """A store that cannot be reached, written or trusted; the sentence names it."""


class StoreRefusalError(StoreError):
    """A server that is there and does not let us in, which waiting cannot heal; the sentence says what can."""


class PartAwayError(StoreError):
    """A server that is there, and its database or the place of its artifacts is not; the sentence names the part."""
