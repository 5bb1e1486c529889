# One image for every command: smtpstatus-exporter (the default), smtpstatus-server, smtpstatus-traffic, smtpstatus.
#
#   make image
#
# docs/release.md describes multi-architecture builds, pinning by digest, and the bill of materials.
FROM python:3.13.16-slim-trixie AS build
RUN python3 -m venv /build && python3 -m venv --without-pip /opt/smtpstatus
COPY requirements-release.lock requirements.lock /src/
RUN /build/bin/pip install -q --no-cache-dir --require-hashes -r /src/requirements-release.lock \
 && /build/bin/pip --python /opt/smtpstatus/bin/python install -q --no-cache-dir --no-compile --require-hashes \
      -r /src/requirements.lock
WORKDIR /src
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY smtpstatus smtpstatus
COPY protocol protocol
COPY smtpstatus smtpstatus
COPY exporter exporter
COPY reference_server reference_server
COPY examples /opt/smtpstatus/examples
COPY deploy/docker-entrypoint.sh /opt/smtpstatus/bin/
# The wheel is built by the locked back-end; the running container has no pip.
RUN /build/bin/python -m hatchling build -t wheel -d /wheels \
 && /build/bin/pip --python /opt/smtpstatus/bin/python install -q --no-cache-dir --no-compile --no-deps /wheels/*.whl \
 && /opt/smtpstatus/bin/python -m compileall -q /opt/smtpstatus/lib \
 && /build/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
      -o /opt/smtpstatus/share/sbom.cdx.json /opt/smtpstatus/bin/python

FROM python:3.13.16-slim-trixie
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="smtpstatus" \
      org.opencontainers.image.description="Prometheus exporter, client and reference server for SMTPStatus" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /opt/smtpstatus /opt/smtpstatus
ENV PATH=/opt/smtpstatus/bin:$PATH PYTHONUNBUFFERED=1
# A named volume inherits its owner from this directory.
RUN mkdir -p /var/lib/smtpstatus/mail && chown -R 10001:10001 /var/lib/smtpstatus
USER 10001:10001
EXPOSE 17030/tcp
# No HEALTHCHECK: what is healthy depends on the command. docker-compose.yml has one for each service.
ENTRYPOINT ["docker-entrypoint.sh"]
