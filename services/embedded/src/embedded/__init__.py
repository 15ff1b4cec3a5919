"""The whole pipeline as processes on one machine: the demo, the benchmarks, and the servers that tests run against."""
