# Replaces docker.io/library/haproxy in front of MinIO on clusters under test: Debian's HAProxy, with the same program name.
ARG BASE_IMAGE=python:3.12-slim-bookworm
FROM ${BASE_IMAGE}
# Debian's security updates have versions that are not known in advance, so no version is pinned.
# hadolint ignore=DL3008
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends haproxy \
 && ln -s /usr/sbin/haproxy /usr/local/bin/haproxy \
 && rm -rf /var/lib/apt/lists/*
USER 99:99
CMD ["haproxy"]
# Last, because they change with every commit.
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.version=$VERSION org.opencontainers.image.revision=$REVISION
