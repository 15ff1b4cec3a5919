"""The Open Inference Protocol over gRPC. Imported only if GRPC_PORT is set."""
