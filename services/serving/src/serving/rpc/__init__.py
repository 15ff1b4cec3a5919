"""The Open Inference Protocol over gRPC. Imported only if GRPC_PORT is set."""

import os

# This process forks only to run other programs. With gRPC's support for forks, each of them makes gRPC write a line of
# its own form into the log. gRPC reads the variable when it is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
