"""Tags and aliases of registered versions (docs/model-format.md)."""

DIGEST = "digest"
GATE = "gate"
RELEASE = "release"
# Why the version was trained, in a sentence; where nobody said why, it is not there.
REASON = "reason"
# What it was trained by: a short hash of each setting of its folder, as JSON.
SETTINGS = "settings"

# What GATE says of a version that may be served.
PASSED = "passed"
FAILED = "failed"

# The alias that training moves, and that of the version that new ones are compared with unless a model says otherwise.
CANDIDATE = "candidate"
CHAMPION = "production"
