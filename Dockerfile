# syntax=docker/dockerfile:1
# Two targets: `docker build --target cpu .` and `docker build --target gpu .`
# Every command below is also run, in a clean folder, by docs/check_dockerfile.py.

FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY pyproject.toml constraints.txt MANIFEST.in README.md LICENSE NOTICE CHANGELOG.md ./
COPY protos protos
COPY service service
COPY clients clients
COPY styles styles
RUN python -m venv /opt/styleserve
RUN /opt/styleserve/bin/python -m pip install --no-cache-dir -c constraints.txt setuptools build
RUN /opt/styleserve/bin/python -m build --wheel --no-isolation --outdir /build/dist

FROM build AS build-cpu
RUN /opt/styleserve/bin/python -m pip install --no-cache-dir -c constraints.txt "$(echo /build/dist/styleserve-*.whl)[cpu,traces]"

FROM build AS build-gpu
RUN /opt/styleserve/bin/python -m pip install --no-cache-dir -c constraints.txt "$(echo /build/dist/styleserve-*.whl)[gpu,traces]"

FROM python:3.11-slim-bookworm AS runtime
RUN useradd --create-home --uid 10001 styleserve \
    && install -d -o styleserve -g styleserve /data /weights /styles
ENV PATH=/opt/styleserve/bin:$PATH \
    XDG_CACHE_HOME=/weights \
    STYLESERVE_LISTEN=0.0.0.0:50051 \
    STYLESERVE_INSECURE=true \
    STYLESERVE_DATA_DIR=/data \
    STYLESERVE_STYLES=/styles \
    STYLESERVE_LOG_FORMAT=json
# The container's own network is where it listens; what of it is published, and how, is said when it is run. Who mounts a
# certificate sets STYLESERVE_INSECURE=false, so that the server insists on callers too.
USER styleserve
VOLUME ["/data", "/weights"]
EXPOSE 50051
STOPSIGNAL SIGTERM
# Exec form: the server is process 1 and hears SIGTERM, on which it drains.
ENTRYPOINT ["styleserve"]
CMD ["serve"]
# It calls 127.0.0.1:50051 in the clear; STYLESERVE_SERVER and STYLESERVE_CALL_TLS_CA say otherwise.
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s CMD ["styleserve", "info", "--health"]

FROM runtime AS cpu
COPY --from=build-cpu /opt/styleserve /opt/styleserve

FROM runtime AS gpu
COPY --from=build-gpu /opt/styleserve /opt/styleserve
