"""What all tests may use: real services, as fixtures of `tests.services`."""

pytest_plugins = ["tests.services"]
