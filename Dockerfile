# The build stage has the tools; the image has only what they made.
FROM python:3.11-slim-bookworm AS build

ENV PDM_CHECK_UPDATE=false \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1

RUN python -m venv /opt/pdm && /opt/pdm/bin/pip install --quiet "pdm[locked]==2.29.3"

WORKDIR /app
RUN python -m venv --without-pip .venv

# The dependencies change less often than the source: they make a layer of their own.
COPY pyproject.toml pdm.lock README.md ./
RUN /opt/pdm/bin/pdm sync --prod --no-self

COPY src ./src
# With bytecode a start takes a third of the time; nobody may write it later.
RUN /opt/pdm/bin/pdm sync --prod --no-editable \
    && .venv/bin/python -m compileall -q --invalidation-mode unchecked-hash .venv/lib


FROM python:3.11-slim-bookworm AS runtime

RUN groupadd --gid 10001 bcs \
    && useradd --uid 10001 --gid bcs --home-dir /app --shell /usr/sbin/nologin bcs

WORKDIR /app
COPY --from=build /app/.venv ./.venv
COPY alembic.ini pipelines.yaml ./
COPY alembic ./alembic

ENV PATH="/app/.venv/bin:$PATH" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

USER 10001:10001


FROM runtime AS bos

ENV BOS_HTTP_HOST=0.0.0.0 \
    BOS_HTTP_PORT=5000

EXPOSE 5000

# Alive, not ready: restarting the service does not bring its dependencies back.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"BOS_HTTP_PORT\"]}/livez', timeout=4)"]

CMD ["bos", "serve"]


FROM runtime AS gateway

ENV API_GATEWAY_HTTP_HOST=0.0.0.0 \
    API_GATEWAY_HTTP_PORT=4001

EXPOSE 4001

# As above.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"API_GATEWAY_HTTP_PORT\"]}/livez', timeout=4)"]

CMD ["api-gateway", "serve"]


FROM runtime AS bcs

ENV BCS_HTTP_HOST=0.0.0.0 \
    BCS_HTTP_PORT=4002

EXPOSE 4002

# As above.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"BCS_HTTP_PORT\"]}/livez', timeout=4)"]

CMD ["bcs", "serve"]
