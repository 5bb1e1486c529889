# One image, three commands: smtpstatus-exporter (the default), smtpstatus-server, smtpstatus-traffic; and smtpstatus to look.
FROM python:3.13-slim AS build
RUN python3 -m venv /build && python3 -m venv /opt/smtpstatus
COPY requirements-build.lock requirements.lock /src/
RUN /build/bin/pip install -q --no-cache-dir --require-hashes -r /src/requirements-build.lock \
 && /opt/smtpstatus/bin/pip install -q --no-cache-dir --no-compile --require-hashes -r /src/requirements.lock
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY protocol protocol
COPY smtpstatus smtpstatus
COPY exporter exporter
COPY reference_server reference_server
COPY examples /opt/smtpstatus/examples
# The wheel comes from the locked back-end; pip itself is of no use to a running container.
RUN /build/bin/python -m hatchling build -t wheel -d /wheels \
 && /opt/smtpstatus/bin/pip install -q --no-cache-dir --no-compile --no-deps /wheels/*.whl \
 && /opt/smtpstatus/bin/python -m compileall -q /opt/smtpstatus/lib \
 && /opt/smtpstatus/bin/pip uninstall -q -y pip

FROM python:3.13-slim
LABEL org.opencontainers.image.title="smtpstatus" \
      org.opencontainers.image.description="Prometheus exporter, client and reference server for SMTPStatus" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/smtpstatus /opt/smtpstatus
ENV PATH=/opt/smtpstatus/bin:$PATH PYTHONUNBUFFERED=1
# A named volume takes its owner from this folder.
RUN mkdir -p /var/lib/smtpstatus/mail && chown -R 10001:10001 /var/lib/smtpstatus
USER 10001:10001
EXPOSE 17030/tcp
HEALTHCHECK --interval=10s --timeout=3s --retries=3 \
  CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:17030/-/healthy', timeout=2)"]
CMD ["smtpstatus-exporter"]
