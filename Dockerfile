# The image of every Gatehouse process; the command says which one runs.
#
#   docker build -t gatehouse .                                        runtime: what production runs
#   docker build -t gatehouse:development --target development .       development: reloads the source mounted over /app
#
# Written for the classic builder too: no BuildKit syntax.

FROM python:3.13-slim AS build
# pip stays outside the environment it fills, so the final image's environment has none.
RUN python -m venv --without-pip /opt/venv
COPY requirements.lock /build/
RUN pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check \
        --no-deps --require-hashes --only-binary :all: -r /build/requirements.lock
WORKDIR /app
COPY pyproject.toml ./
COPY edge ./edge
COPY auth_service ./auth_service
COPY core_service ./core_service
COPY common ./common
COPY ops ./ops
# Editable: the environment finds the code in /app, copied there or mounted over it.
RUN pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check \
        --no-deps --no-build-isolation --editable . \
    && rm -rf build ./*.egg-info \
    && python -m compileall -q . \
    # Whatever the umask of the checkout was.
    && chmod -R a+rX .

FROM python:3.13-slim AS base
RUN groupadd --gid 1000 gatehouse \
    && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /var/lib/gatehouse --shell /usr/sbin/nologin gatehouse \
    # A new named volume takes owner and mode from what it is mounted over.
    && install -d -o gatehouse -g gatehouse -m 0700 /var/lib/gatehouse /var/lib/gatehouse/secrets /var/lib/gatehouse/backups \
    && install -d -o gatehouse -g gatehouse -m 0755 /var/lib/gatehouse-servers /var/lib/gatehouse-front
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app
# Auth and core stay on loopback, for whoever runs all three in one container; a container for each says otherwise.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GATEHOUSE_VAR=/var/lib/gatehouse \
    EDGE_HOST=0.0.0.0
USER 1000:1000
# Asks HEALTHCHECK_URL, or the edge on its port.
HEALTHCHECK --interval=30s --timeout=10s --start-period=5s --retries=3 \
    CMD ["python", "-I", "-S", "/app/ops/docker/probe.py"]
CMD ["python", "-m", "edge"]

FROM base AS development
CMD ["gatehouse", "serve", "edge", "--reload"]

FROM base AS runtime
EXPOSE 8080
