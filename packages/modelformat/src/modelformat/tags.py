"""Tags and aliases of registered versions (docs/model-format.md)."""

DIGEST = "digest"
GATE = "gate"
RELEASE = "release"

# What GATE says of a version that may be served.
PASSED = "passed"
FAILED = "failed"

# The alias that training moves, and that of the version that new ones are compared with.
CANDIDATE = "candidate"
CHAMPION = "production"
