# Prometheus and the Pushgateway for clusters under test that cannot have their charts: the programs that tools/install
# builds. The build context contains only these programs.
ARG BASE_IMAGE=python:3.12-slim-bookworm
FROM ${BASE_IMAGE}
COPY prometheus pushgateway /bin/
USER 65534:65534
ENTRYPOINT ["/bin/prometheus"]
# Last, because they change with every commit.
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.version=$VERSION org.opencontainers.image.revision=$REVISION
