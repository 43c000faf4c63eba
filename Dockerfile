# Tidelog in a container.
#
#   docker build -t tidelog .
#   docker run -d --name tidelog -p 8080:8080 -v tidelog:/data --stop-timeout 60 tidelog
#   docker logs tidelog                              the key that was made
#   docker exec tidelog tidelog apps list            operate it from within
#
# Settings are variables (docs/settings.md): -e TIDELOG_BROKER_MESSAGE_RETENTION_MS=0. The volume
# must be a file system with working fsync and mmap: not NFS.

FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md ./
COPY storage storage
COPY broker broker
COPY api api
COPY bench bench
RUN python -m venv /opt/tidelog && /opt/tidelog/bin/pip install --no-cache-dir --quiet .

FROM python:3.13-slim
COPY --from=build /opt/tidelog /opt/tidelog
RUN install -d -m 0700 -o 10001 -g 10001 /data
ENV PATH=/opt/tidelog/bin:$PATH
ENV TIDELOG_DATA=/data
ENV TIDELOG_SERVER_HOST=0.0.0.0
USER 10001:10001
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('TIDELOG_SERVER_PORT', '8080') + '/ready')"]
CMD ["tidelog", "serve"]
