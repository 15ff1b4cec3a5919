"""Tags and aliases of registered versions (docs/model-format.md)."""

DIGEST = "digest"
GATE = "gate"
RELEASE = "release"
# Why the version was trained, in a sentence; absent if no reason was given.
REASON = "reason"
# The settings that it was trained with: a short hash of each setting of its folder, as JSON.
SETTINGS = "settings"

# The values of GATE; a version may be served if it passed.
PASSED = "passed"
FAILED = "failed"

# The alias that training moves, and the default alias of the version that new ones are compared with.
CANDIDATE = "candidate"
CHAMPION = "production"
